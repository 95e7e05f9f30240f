/**
 * Messages a second through workers that know only Redis (`redisWorkers`): each reads up to COUNT entries of the queue's stream,
 * acknowledges them with one XACK, and does no work. Prints one JSON line for each round.
 *
 *     redis-workers.js [ROUNDS] [WORKERS] [COUNT] [MESSAGES] [APPENDFSYNC]
 */
import { setTimeout as delay } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { BrokerProcess } from '../../test/support/broker-process.ts'
import { RedisProcess } from '../../test/support/redis-process.ts'
import { httpProducer } from './producer.ts'

const [rounds = 3, workers = 1, count = 100, messages = 100_000] = process.argv.slice(2, 6).map(Number)
const appendfsync = (process.argv[6] ?? 'always') as 'always' | 'everysec' | 'no'
const QUEUE = 'bench'
const STREAM = `sluicemq:work:${QUEUE}`

async function work(port: number, name: string, left: { count: number }): Promise<void> {
  const redis = new Redis(port, '127.0.0.1')
  const args = ['workers', name, 'COUNT', count, 'BLOCK', 200, 'STREAMS', STREAM, '>']
  while (left.count > 0) {
    const found = (await redis.call('XREADGROUP', 'GROUP', ...args)) as [string, [string, string[]][]][] | null
    const ids = (found?.[0]?.[1] ?? []).map(([id]) => id)
    if (ids.length === 0) continue
    const done = await redis.xack(STREAM, 'workers', ...ids)
    left.count -= done
  }
  redis.disconnect()
}

async function cpuSeconds(redis: RedisProcess): Promise<number> {
  return Number(/used_cpu_user:([\d.]+)/.exec(await redis.admin.info('cpu'))![1])
}

const redis = await RedisProcess.start({ appendfsync })
const config = { redisUrl: redis.url, queues: { [QUEUE]: { redisWorkers: { enabled: true } } } }
const broker = await BrokerProcess.start({ store: 'redis', config })
try {
  const producer = httpProducer(broker.http, QUEUE)
  for (let round = 1; round <= rounds; round++) {
    await fetch(`${broker.http}/api/v1/queues/${QUEUE}/pause`, { method: 'POST' })
    await producer.put(messages)
    await fetch(`${broker.http}/api/v1/queues/${QUEUE}/resume`, { method: 'POST' })
    await delay(500)
    const before = await cpuSeconds(redis)
    const begun = performance.now()
    const left = { count: messages }
    await Promise.all(Array.from({ length: workers }, (_, i) => work(redis.port, `w${i}`, left)))
    const seconds = (performance.now() - begun) / 1000
    const redisMicroseconds = (((await cpuSeconds(redis)) - before) * 1e6) / messages
    const figures = {
      perSecond: Math.round(messages / seconds),
      redisMicroseconds: Number(redisMicroseconds.toFixed(1)),
    }
    process.stdout.write(`${JSON.stringify({ round, workers, count, messages, appendfsync, ...figures })}\n`)
  }
  await producer.close()
} finally {
  await broker.stop()
  await redis.stop()
}
