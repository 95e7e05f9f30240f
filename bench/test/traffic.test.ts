import { afterEach, describe, expect, test } from 'vitest'
import { hold } from '../load/hold.ts'
import { parseLoadOptions } from '../load/options.ts'
import type { TrafficResult } from '../load/result.ts'
import { Traffic } from '../load/traffic.ts'
import { FakeBroker, type Misbehaviour } from './fake-broker.ts'

let broker: FakeBroker | null = null
afterEach(() => {
  broker?.close()
  broker = null
})

async function load(args: string, how: Misbehaviour = {}): Promise<TrafficResult> {
  broker = new FakeBroker(how)
  await broker.listen()
  const times = '--warmup 0.05 --seconds 0.3'
  const traffic = new Traffic(parseLoadOptions(`--port ${broker.port} ${times} ${args}`.split(' ')))
  try {
    return await traffic.run()
  } finally {
    traffic.close()
  }
}

describe('the load generator against a broker that behaves', () => {
  test.each([1, 2] as const)('QoS %i: everything acknowledged is received, and the window is kept', async (qos) => {
    const result = await load(`--publishers 3 --subscribers 3 --qos ${qos} --window 7`, { delayMs: 2 })
    expect(result.totals.missing).toBe(0)
    expect(result.totals.acknowledged).toBe(result.totals.sent)
    expect(result.totals.received).toBe(result.totals.sent)
    expect(result.totals.sent).toBeGreaterThan(100)
    expect(broker!.mostInFlight).toBe(7)
  })

  test('one subscriber hears all publishers; fan-out reaches every subscriber', async () => {
    const fanIn = await load('--publishers 4 --subscribers 1 --qos 1 --window 5')
    expect(fanIn.totals).toMatchObject({ missing: 0, received: fanIn.totals.sent })
    broker!.close()
    const fanOut = await load('--publishers 1 --subscribers 5 --qos 1 --window 5 --fan-out')
    expect(fanOut.totals).toMatchObject({ missing: 0, received: 5 * fanOut.totals.sent })
  })

  test('a publisher uses its topics in turn, with a window that does not divide the block', async () => {
    const result = await load('--publishers 2 --subscribers 2 --qos 1 --window 5 --topics 3 --payload 20000')
    expect(result.totals.missing).toBe(0)
    expect([...broker!.topics].sort()).toEqual(
      [0, 1].flatMap((device) => [0, 1, 2].map((sensor) => `b/dev${device}/sensor00${sensor}`)),
    )
  })

  test('the rate is kept, and the time a message waits is measured from when it was due', async () => {
    // Long enough that what a busy machine is late with at either end is little of it.
    const args = '--mode rate --rate 1000 --publishers 2 --subscribers 2 --qos 1 --seconds 1.5'
    const result = await load(args, { delayMs: 20 })
    expect(result.sentPerSecond).toBeGreaterThan(800)
    expect(result.sentPerSecond).toBeLessThan(1200)
    expect(result.latencyMicroseconds!.p50).toBeGreaterThan(19_000)
    expect(result.totals.missing).toBe(0)
  })

  test('a full window counts as latency: no coordinated omission', async () => {
    // One in flight and 10 ms each is 100 a second; 500 are due.
    const result = await load('--mode rate --rate 500 --qos 1 --window 1', { delayMs: 10 })
    expect(result.latencyMicroseconds!.p99).toBeGreaterThan(100_000)
    expect(result.sendLagMicroseconds!.p99).toBeGreaterThan(100_000)
  })

  test('without subscribers, latency is the time from due to PUBACK', async () => {
    const result = await load('--mode rate --rate 500 --publishers 2 --subscribers 0 --qos 1', { delayMs: 20 })
    expect(result.latencyMicroseconds!.count).toBeGreaterThan(50)
    expect(result.latencyMicroseconds!.p50).toBeGreaterThan(19_000)
    expect(result.latencyMicroseconds!.p50).toBeLessThan(500_000)
    // One in flight and 10 ms each is 100 a second; 500 are due: the wait for the window counts.
    broker!.close()
    const full = await load('--mode rate --rate 500 --subscribers 0 --qos 1 --window 1', { delayMs: 10 })
    expect(full.latencyMicroseconds!.p99).toBeGreaterThan(100_000)
  })

  test('members of a shared subscription are owed each message once', async () => {
    const result = await load('--publishers 2 --subscribers 3 --qos 1 --window 5 --share g')
    expect(broker!.filters).toEqual(['$share/g/b/#', '$share/g/b/#', '$share/g/b/#'])
    expect(result.totals).toMatchObject({ missing: 0, received: result.totals.sent })
  })

  test('background subscriptions stand before the traffic and receive none of it', async () => {
    const background = '--background-connections 3 --background-subscriptions 250'
    const result = await load(`--publishers 2 --subscribers 2 --qos 1 --window 5 ${background}`)
    expect(result.background).toMatchObject({ subscriptions: 750, bytesPerSubscription: null })
    const filters = broker!.filters.slice(0, 750)
    expect(new Set(filters).size).toBe(750)
    expect(filters.filter((filter) => filter.includes('+'))).toHaveLength(4 * 75)
    expect(filters.filter((filter) => filter.endsWith('#'))).toHaveLength(2 * 75)
    expect(result.totals).toMatchObject({ missing: 0, received: result.totals.sent })
  })

  test('hold opens connections by the clock and times each from when it was due', async () => {
    broker = new FakeBroker()
    await broker.listen()
    const args = `--mode hold --port ${broker.port} --connections 40 --connect-rate 200 --seconds 0.1`
    const { result, close } = await hold(parseLoadOptions(args.split(' ')))
    close()
    expect(result.connectSeconds).toBeGreaterThan(0.19)
    expect(result.latencyMicroseconds!.count).toBe(40)
  })

  test('hold opens the connections asked for', async () => {
    broker = new FakeBroker()
    await broker.listen()
    const { result, close } = await hold(
      parseLoadOptions(`--mode hold --port ${broker.port} --connections 30 --seconds 0.1`.split(' ')),
    )
    close()
    expect(result.connections).toBe(30)
    expect(result.connectionsPerSecond).toBeGreaterThan(0)
    expect(result.bytesPerConnection).toBeNull()
  })
})

describe('the load generator against a broker that does not', () => {
  test('acknowledged messages that never arrive are counted as missing', async () => {
    const result = await load('--qos 1 --window 10', { loseEvery: 10 })
    expect(result.totals.missing).toBe(Math.floor(result.totals.sent / 10))
    expect(result.totals.missing).toBeGreaterThan(0)
  })

  test('an acknowledgement for nothing voids the run', async () => {
    await expect(load('--qos 1', { wrongAcknowledgement: true })).rejects.toThrow(/identifier 60000, not in flight/)
  })

  test('a refused connection voids the run', async () => {
    await expect(load('--qos 0', { connectCode: 5 })).rejects.toThrow(/CONNECT refused with code 5/)
  })

  test('a broker that goes away voids the run', async () => {
    const run = load('--qos 1 --window 2', { delayMs: 5 })
    setTimeout(() => broker!.close(), 300)
    await expect(run).rejects.toThrow(/bench-[ps]-0: /)
  })
})
