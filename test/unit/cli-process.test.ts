/** The real process, compiled (`npm test` builds first): what only shows with real signals, pipes and ports. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'

const main = join(import.meta.dirname, '../../dist/src/main.js')
const folder = mkdtempSync(join(tmpdir(), 'sluicemq-process-'))
const running = new Set<ChildProcess>()
afterEach(() => {
  for (const child of running) child.kill('SIGKILL')
  rmSync(folder, { recursive: true, force: true })
})

class Sluice {
  stdout = ''
  stderr = ''
  readonly child: ChildProcess
  readonly #exit: Promise<unknown[]>

  constructor(...args: string[]) {
    this.child = spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
    running.add(this.child)
    this.child.stdout?.on('data', (bytes) => {
      this.stdout += bytes
    })
    this.child.stderr?.on('data', (bytes) => {
      this.stderr += bytes
    })
    this.#exit = once(this.child, 'close')
  }

  static broker(...args: string[]): Sluice {
    return new Sluice('start', '--mqtt-port', '0', '--http-port', '0', '--data-dir', join(folder, 'data'), ...args)
  }

  /** Resolves with the ports once the ready line is there. */
  async ready(): Promise<{ mqttPort: string; httpPort: string }> {
    while (!this.stdout.includes('\n')) {
      const ended = await Promise.race([
        once(this.child.stdout!, 'data').then(() => false),
        this.#exit.then(() => true),
      ])
      if (ended) throw new Error(`exited before it was ready: ${this.stderr}`)
    }
    const [, mqttPort, httpPort] = /^ready mqtt=\S+:(\d+) ws=\S+ http=\S+:(\d+)\n/.exec(this.stdout) ?? []
    return { mqttPort: mqttPort!, httpPort: httpPort! }
  }

  async exit(): Promise<number | string> {
    const [code, signal] = await this.#exit
    return (code ?? signal) as number | string
  }
}

test('ready means that clients may connect; SIGTERM drains and ends with 0', async () => {
  const broker = Sluice.broker()
  const { mqttPort, httpPort } = await broker.ready()
  const socket = connect(Number(mqttPort), '127.0.0.1')
  socket.write(Buffer.from('101000044d5154540402003c000461626364', 'hex'))
  const [connack] = await once(socket, 'data')
  expect((connack as Buffer).toString('hex')).toBe('20020000')
  expect((await fetch(`http://127.0.0.1:${httpPort}/health/ready`)).status).toBe(200)
  broker.child.kill('SIGTERM')
  await once(socket, 'close')
  expect(await broker.exit()).toBe(0)
  expect(broker.stdout.split('\n')).toHaveLength(2)
  expect(broker.stderr).toContain('"msg":"started"')
})

test('two signals end the process at once, with the number of the second', async () => {
  const broker = Sluice.broker()
  const { httpPort } = await broker.ready()
  // A request that never ends keeps the drain waiting.
  const socket = connect(Number(httpPort), '127.0.0.1')
  socket.on('error', () => {})
  socket.write(
    'POST /api/v1/queues/telemetry/ack HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n',
  )
  await (await fetch(`http://127.0.0.1:${httpPort}/health/live`)).text()
  broker.child.kill('SIGINT')
  while (!broker.stderr.includes('SIGINT')) await once(broker.child.stderr!, 'data')
  broker.child.kill('SIGINT')
  expect(await broker.exit()).toBe(130)
})

test('a taken port ends with 75 and names its flag, for both ports', async () => {
  const taken = createServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
  const { port } = taken.address() as { port: number }
  for (const flag of ['--mqtt-port', '--http-port']) {
    const broker = Sluice.broker(flag, String(port))
    expect(await broker.exit()).toBe(75)
    expect(broker.stderr).toContain(`port ${port} of 127.0.0.1 is in use`)
    expect(broker.stderr).toContain(`choose another port with ${flag}`)
    expect(broker.stdout).toBe('')
  }
  taken.close()
})

test('a data folder in use ends with 74, one that cannot be made too', async () => {
  const first = Sluice.broker()
  await first.ready()
  const second = Sluice.broker()
  expect(await second.exit()).toBe(74)
  expect(second.stderr).toContain(join(folder, 'data'))
  writeFileSync(join(folder, 'file'), '')
  const third = Sluice.broker('--data-dir', join(folder, 'file', 'below'))
  expect(await third.exit()).toBe(74)
  expect(third.stderr).toContain(join(folder, 'file'))
})

test('output into a pipe that nobody reads to its end is no crash', async () => {
  const docs = new Sluice('config', 'docs')
  docs.child.stdout?.once('data', () => docs.child.stdout?.destroy())
  expect(await docs.exit()).toBe(0)
  expect(docs.stderr).toBe('')
})
