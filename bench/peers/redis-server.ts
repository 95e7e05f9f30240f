/** A redis-server for brokers that keep their data in one: what it answers is on disk (`appendfsync always`). */
import { BrokerProcess, freePort } from './broker-process.ts'
import { programVersion } from './installed.ts'

export const redisVersion = (): Promise<string | null> => programVersion('redis-server', ['--version'], /v=(\S+)/)

/** Its CPU and memory are in nobody's figures. */
export async function startRedisServer(dataRoot: string): Promise<{ port: number; stop(): Promise<void> }> {
  const port = await freePort()
  const command = async (directory: string) => {
    const durable = ['--appendonly', 'yes', '--appendfsync', 'always', '--save', '']
    return {
      command: 'redis-server',
      args: ['--port', String(port), '--bind', '127.0.0.1', '--dir', directory, ...durable],
    }
  }
  const { broker: redis } = await BrokerProcess.start(dataRoot, command, (starting) => starting.listening(port))
  return { port, stop: () => redis.stop() }
}
