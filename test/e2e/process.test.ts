/** The program as its user meets it: the ready line, the tour of the README, health, signals and exit codes. */
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import mqtt from 'mqtt'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { BrokerProcess, mainFile } from '../support/broker-process.ts'
import { RawClient } from '../support/raw-client.ts'

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

interface Outcome {
  code: number | null
  stdout: string
  stderr: string
}

/** Runs the program to its end. */
function run(...args: string[]): Promise<Outcome> {
  const cwd = fs.mkdtempSync(path.join(os.tmpdir(), 'sluicemq-e2e-'))
  const child = spawn(process.execPath, [mainFile(), ...args], { cwd, timeout: 15_000 })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (more) => {
    stdout += more
  })
  child.stderr.on('data', (more) => {
    stderr += more
  })
  return new Promise((resolve) =>
    child.on('close', (code) => {
      fs.rmSync(cwd, { recursive: true, force: true })
      resolve({ code, stdout, stderr })
    }),
  )
}

async function json(url: string, body?: object): Promise<{ status: number; body: never }> {
  const answer = await fetch(
    url,
    body && { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) },
  )
  return { status: answer.status, body: (await answer.json()) as never }
}

describe('without any config file', () => {
  let broker: BrokerProcess
  beforeAll(async () => {
    broker = await BrokerProcess.start()
  })
  afterAll(() => broker?.stop())

  test('one ready line on stdout, nothing else, and it listens on loopback only', () => {
    expect(broker.stdout).toMatch(/^ready mqtt=mqtt:\/\/127\.0\.0\.1:\d+ ws=ws:\/\/\S+\/mqtt http=http:\/\/\S+\n$/)
  })

  test('the tour: publish, pull, ack; then the queue is empty', async () => {
    const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${broker.mqtt.port}`, { clientId: 'pump-7' })
    await client.publishAsync('devices/pump-7/telemetry', '{"celsius":21.5}', { qos: 1 })
    await client.endAsync()
    const queue = `${broker.http}/api/v1/queues/telemetry`
    const pulled = await json(`${queue}/pull`, { max: 10 })
    expect(pulled.status).toBe(200)
    const { messages } = pulled.body as { messages: Record<string, unknown>[] }
    expect(messages).toHaveLength(1)
    expect(messages[0]).toMatchObject({
      v: 1,
      queue: 'telemetry',
      topic: 'devices/pump-7/telemetry',
      levels: ['devices', 'pump-7', 'telemetry'],
      clientId: 'pump-7',
      qos: 1,
      retain: false,
      encoding: 'utf8',
      payload: '{"celsius":21.5}',
      attempt: 1,
    })
    const { time, leasedUntil, receipt } = messages[0] as Record<string, string>
    expect(Math.abs(Date.now() - Date.parse(time!))).toBeLessThan(60_000)
    expect(Date.parse(leasedUntil!)).toBeGreaterThan(Date.now())
    expect(await json(`${queue}/ack`, { receipts: [receipt] })).toMatchObject({
      status: 200,
      body: { results: [{ receipt, ok: true }] },
    })
    expect(await json(queue)).toMatchObject({ body: { name: 'telemetry', ready: 0, leased: 0, delayed: 0 } })
    expect(await json(`${queue}/pull`, {})).toMatchObject({ status: 200, body: { messages: [] } })
  })

  test('a waiting pull is answered when a message comes; a payload that is no UTF-8 arrives as base64', async () => {
    const waiting = json(`${broker.http}/api/v1/queues/telemetry/pull`, { waitMs: 5_000 })
    await sleep(100)
    const client = await RawClient.connected(broker.mqtt, { clientId: 'pump-8' })
    await client.publish({ topic: 'devices/pump-8/telemetry', payload: Buffer.from([0xff, 0x00]), qos: 1 })
    const { messages } = (await waiting).body as { messages: Record<string, unknown>[] }
    expect(messages).toMatchObject([{ encoding: 'base64', payload: '/wA=', clientId: 'pump-8' }])
    await client.disconnect()
  })

  test('health and metrics answer; unknown paths and queues get an error that says what to do', async () => {
    expect(await json(`${broker.http}/health/live`)).toMatchObject({ status: 200, body: { status: 'live' } })
    expect((await json(`${broker.http}/health/ready`)).status).toBe(200)
    expect(await (await fetch(`${broker.http}/metrics`)).text()).toContain('# TYPE')
    const error = { error: { code: expect.any(String), message: expect.any(String), action: expect.any(String) } }
    expect(await json(`${broker.http}/no/such/thing`)).toMatchObject({ status: 404, body: error })
    expect(await json(`${broker.http}/api/v1/queues/nowhere`)).toMatchObject({ status: 404, body: error })
    expect(await json(`${broker.http}/api/v1/queues/telemetry/pull`, { max: -1 })).toMatchObject({
      status: 400,
      body: error,
    })
  })

  test('MQTT over WebSocket on the HTTP port', async () => {
    const client = await RawClient.connected(broker.ws, { clientId: 'browser' })
    await client.subscribe(['e2e/ws', 1])
    await client.publish({ topic: 'e2e/ws', payload: 'hello', qos: 1 })
    expect((await client.receive()).payload.toString()).toBe('hello')
    await client.disconnect()
  })
})

describe('signals', () => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    test(`${signal} drains: connections end, what was acknowledged is kept, exit code 0`, async () => {
      const broker = await BrokerProcess.start()
      try {
        const client = await RawClient.connected(broker.mqtt, { clientId: 'worker-feed' })
        await client.publish({ topic: 'devices/1/telemetry', payload: 'kept', qos: 1 })
        const waiting = json(`${broker.http}/api/v1/queues/telemetry/pull`, { max: 1, waitMs: 1, leaseMs: 100 })
        await waiting
        const from = performance.now()
        expect(await broker.kill(signal)).toEqual({ code: 0, signal: null })
        expect(performance.now() - from).toBeLessThan(5_000)
        await client.expectClosed()
        await broker.start()
        const { body } = await json(`${broker.http}/api/v1/queues/telemetry/pull`, { waitMs: 3_000 })
        expect(body).toMatchObject({ messages: [{ payload: 'kept' }] })
      } finally {
        await broker.stop()
      }
    })
  }

  test('SIGTERM answers a waiting pull instead of cutting it off', async () => {
    const broker = await BrokerProcess.start()
    try {
      const waiting = json(`${broker.http}/api/v1/queues/telemetry/pull`, { waitMs: 20_000 })
      const forecast = `${broker.http}/api/v1/queues/telemetry/forecast`
      await expect.poll(() => json(forecast)).toMatchObject({ body: { measured: { workers: 1 } } })
      const ended = broker.kill('SIGTERM')
      expect(await waiting).toMatchObject({ status: 200, body: { messages: [] } })
      expect(await ended).toEqual({ code: 0, signal: null })
    } finally {
      await broker.stop()
    }
  })

  test('a publish under way at SIGTERM is either acknowledged and kept or not acknowledged', async () => {
    const broker = await BrokerProcess.start()
    try {
      const client = await RawClient.connected(broker.mqtt, { clientId: 'busy' })
      let acknowledged = 0
      let ended: ReturnType<typeof broker.kill> | null = null
      client.onPacket = (packet) => {
        if (packet.type === 'puback' && ++acknowledged === 100) ended = broker.kill('SIGTERM')
        return packet.type === 'puback'
      }
      let sent = 0
      while (!client.isClosed) {
        client.startPublish({ topic: 'devices/1/telemetry', payload: String(sent++), qos: 1 })
        await new Promise((resolve) => setImmediate(resolve))
      }
      expect(await ended).toEqual({ code: 0, signal: null })
      await broker.start()
      const info = (await json(`${broker.http}/api/v1/queues/telemetry`)).body as { ready: number }
      expect(info.ready).toBeGreaterThanOrEqual(acknowledged)
      expect(info.ready).toBeLessThanOrEqual(sent)
    } finally {
      await broker.stop()
    }
  })
})

describe('exit codes', () => {
  const dataDir = fs.mkdtempSync(path.join(os.tmpdir(), 'sluicemq-e2e-'))
  afterAll(() => fs.rmSync(dataDir, { recursive: true, force: true }))

  test('--version and --help: 0, on stdout', async () => {
    const version = await run('--version')
    expect(version).toMatchObject({ code: 0 })
    expect(version.stdout).toMatch(/^\d+\.\d+\.\d+/)
    const help = await run('--help')
    expect(help).toMatchObject({ code: 0 })
    expect(help.stdout).toContain('start')
  })

  test('64: an unknown option names the nearest one', async () => {
    const { code, stderr } = await run('start', '--mqtt-prt', '0')
    expect(code).toBe(64)
    expect(stderr).toContain('--mqtt-port')
  })

  test('78: a config file with an unknown key names it and the nearest valid one', async () => {
    const file = path.join(dataDir, 'bad.yaml')
    fs.writeFileSync(file, 'mqttprot: 1883\n')
    const { code, stderr } = await run('start', '--config', file)
    expect(code).toBe(78)
    expect(stderr).toMatch(/mqttprot.*mqttPort/s)
  })

  test('78: listening on the network without authentication has to be asked for by name', async () => {
    const { code, stderr } = await run('start', '--host', '0.0.0.0', '--mqtt-port', '0', '--http-port', '0')
    expect(code).toBe(78)
    expect(stderr).toContain('allowAnonymous')
  })

  test('75: a port in use is named, with the flag that changes it', async () => {
    const server = net.createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as net.AddressInfo
    try {
      const { code, stderr } = await run(
        'start',
        '--mqtt-port',
        String(port),
        '--http-port',
        '0',
        '--data-dir',
        dataDir,
      )
      expect(code).toBe(75)
      expect(stderr).toContain(String(port))
      expect(stderr).toContain('--mqtt-port')
    } finally {
      server.close()
    }
  })

  test('74: a data directory that another broker uses is refused, and that broker goes on', async () => {
    const broker = await BrokerProcess.start()
    try {
      const { code, stderr } = await run('start', '--mqtt-port', '0', '--http-port', '0', '--data-dir', broker.dataDir)
      expect(code).toBe(74)
      expect(stderr).toContain(broker.dataDir)
      expect((await fetch(`${broker.http}/health/ready`)).status).toBe(200)
    } finally {
      await broker.stop()
    }
  })
})
