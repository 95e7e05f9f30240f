/** Clocks that are set, machines that sleep, and processes that run for months. */
import { afterEach, describe, expect, test } from 'vitest'
import { steadyClock } from '../../src/base/steady-clock.ts'
import { Exchange, Inflight } from '../../src/session/inflight.ts'
import { packetIdOf, seqOf } from '../../src/session/packet-ids.ts'
import { ClockedBroker } from '../support/clocked-broker.ts'
import { HandClock } from '../support/hand-clock.ts'
import type { RawConnect } from '../support/raw-packets.ts'

const SECOND = 1000
const HOUR = 3600 * SECOND
const DAY = 24 * HOUR
const YEAR = 365 * DAY
const steps = [
  { step: '+1 h', ms: HOUR },
  { step: '-1 h', ms: -HOUR },
  { step: '+10 years', ms: 10 * YEAR },
  { step: '-10 years', ms: -10 * YEAR },
]

let clock: HandClock
let broker: ClockedBroker
async function start(): Promise<void> {
  broker = await ClockedBroker.start({ limits: { sessionExpirySecondsMax: 0xffffffff } }, clock)
}
afterEach(() => broker?.stop())

const connect = (clientId: string, more: RawConnect = {}) => broker.connect(clientId, more)
const present = (clientId: string) => broker.present(clientId)
const lasting = (seconds: number) => ({ properties: { sessionExpiryInterval: seconds } })

describe.each(steps)('the wall clock is set by $step', ({ ms }) => {
  test('a session lasts as long as it should [v5 MQTT-4.1.0-2]', async () => {
    clock = new HandClock()
    await start()
    for (const id of ['early', 'late']) await (await connect(id, lasting(600))).disconnect()
    clock.step(ms)
    clock.advance(580 * SECOND)
    expect(await present('early')).toBe(true)
    clock.advance(40 * SECOND)
    expect(await present('late')).toBe(false)
  })

  test('a will waits for its delay and no longer [v5 MQTT-3.1.3-9]', async () => {
    clock = new HandClock()
    await start()
    const watcher = await connect('watcher')
    await watcher.subscribe('wills')
    const will = { topic: 'wills', payload: 'gone', properties: { willDelayInterval: 300 } }
    const client = await connect('client', { ...lasting(600), will })
    await client.drop()
    await watcher.ping()
    clock.step(ms)
    clock.advance(290 * SECOND)
    await watcher.expectNothing(50, 'publish')
    clock.advance(20 * SECOND)
    expect((await watcher.expect('publish')).payload.toString()).toBe('gone')
    await watcher.disconnect()
  })

  test('a message keeps its Message Expiry Interval [v5 MQTT-3.3.2-6]', async () => {
    clock = new HandClock()
    await start()
    const reader = await connect('reader', lasting(6000))
    await reader.subscribe(['expiring', 1])
    await reader.disconnect()
    const publisher = await connect('publisher')
    const expiring = (seconds: number) => ({
      topic: 'expiring',
      qos: 1,
      properties: { messageExpiryInterval: seconds },
    })
    await publisher.publish(expiring(1000))
    await publisher.publish(expiring(100))
    clock.step(ms)
    clock.advance(200 * SECOND)
    const again = await connect('reader', lasting(6000))
    const { properties } = await again.receive()
    // A fiftieth of what passes may go to making up the step.
    expect(Math.abs(Number(properties!['messageExpiryInterval']) - 800)).toBeLessThanOrEqual(6)
    await again.expectNothing(50, 'publish')
    await Promise.all([again.disconnect(), publisher.disconnect()])
  })

  test('while the broker is down, a session lasts no longer than its interval from the start on', async () => {
    clock = new HandClock()
    await start()
    for (const id of ['one', 'two']) await (await connect(id, lasting(600))).disconnect()
    await broker.restart(() => clock.step(ms))
    // A clock that was set forward may have been right before: who says how long the broker was down?
    if (ms > 0) return expect(await present('one')).toBe(false)
    clock.advance(580 * SECOND)
    expect(await present('one')).toBe(true)
    clock.advance(40 * SECOND)
    expect(await present('two')).toBe(false)
  })
})

test('a gateway that woke up in 1970 and heard of the time later keeps its sessions and wills over a restart', async () => {
  clock = new HandClock(60 * SECOND)
  await start()
  await (await connect('kept', lasting(3600))).disconnect()
  const will = { topic: 'wills', payload: 'gone', properties: { willDelayInterval: 3000 } }
  await (await connect('willing', { ...lasting(3600), will })).drop()
  clock.step(56 * YEAR)
  clock.advance(20 * SECOND)
  // The lazy commit has a timer of its own.
  await new Promise((resolve) => setTimeout(resolve, 50))
  await broker.restart(() => clock.advance(1000 * SECOND))
  const watcher = await connect('watcher')
  await watcher.subscribe('wills')
  await watcher.expectNothing(50, 'publish')
  clock.advance(1000 * SECOND)
  expect(await present('kept')).toBe(true)
  clock.advance(1000 * SECOND)
  expect((await watcher.expect('publish')).payload.toString()).toBe('gone')
  await watcher.disconnect()
})

describe('a machine that sleeps for hours', () => {
  test('wakes up with its clients: they are not cut before what they sent is read', async () => {
    clock = new HandClock()
    await start()
    const clients = await Promise.all([1, 2, 3].map((i) => connect(`sleeper-${i}`, { keepAliveSeconds: 60 })))
    for (let i = 0; i < 3; i++) {
      clock.sleep(3 * HOUR)
      for (const client of clients) await client.ping()
      clock.advance(50 * SECOND)
      for (const client of clients) await client.ping()
    }
    // Silence while it is awake still ends the connection [v5 MQTT-3.1.2-22].
    clock.sleep(3 * HOUR)
    clock.advance(80 * SECOND)
    expect(clients.map((client) => client.isClosed)).toEqual([false, false, false])
    clock.advance(15 * SECOND)
    await Promise.all(clients.map((client) => client.expectClosed()))
  })
})

describe('a process that runs for months', () => {
  test('keeps sessions and wills whose time is longer than a timer can be', async () => {
    clock = new HandClock()
    await start()
    const watcher = await connect('watcher')
    await watcher.subscribe('wills')
    const will = { topic: 'wills', payload: 'gone', properties: { willDelayInterval: (60 * DAY) / SECOND } }
    await (await connect('client', { ...lasting((90 * DAY) / SECOND), will })).drop()
    await watcher.ping()
    for (let day = 0; day < 59; day++) clock.sleep(DAY)
    await watcher.expectNothing(50, 'publish')
    // Timers that were cut short by the sleep are set anew.
    for (let day = 0; day < 26; day++) clock.sleep(DAY)
    expect((await watcher.expect('publish')).payload.toString()).toBe('gone')
    expect(await present('client')).toBe(true)
    await watcher.disconnect()
  })

  test.each([2 ** 31, 2 ** 32, 2 ** 40, 2 ** 48 - 70_000])(
    'numbers messages beyond %i as before it, and their Packet Identifiers go round',
    (from) => {
      const inflight = new Inflight(from)
      const old = inflight.open(from, Exchange.awaitingPuback)
      const ids = new Set([old])
      let seq = from + 1
      for (; inflight.fits(seq); seq++) ids.add(inflight.open(seq, Exchange.awaitingPuback))
      // All identifiers are in use, each once; the next would be that of the oldest.
      expect(ids.size).toBe(65_535)
      expect(Math.min(...ids)).toBe(1)
      expect(Math.max(...ids)).toBe(65_535)
      expect(packetIdOf(seq)).toBe(old)
      expect(seqOf(packetIdOf(seq - 1), from)).toBe(seq - 1)
      expect(inflight.find(old)).toBe(from)
      inflight.close(from)
      expect(inflight.fits(seq)).toBe(true)
      expect(inflight.open(seq, Exchange.awaitingPuback)).toBe(old)
      expect(inflight.find(old)).toBe(seq)
      expect(inflight.find(packetIdOf(from + 1))).toBe(from + 1)
    },
  )
})

describe('the steady clock', () => {
  test('follows a wall clock that keeps time, and makes up a difference by a fiftieth of what passes', () => {
    clock = new HandClock(1_000_000)
    const steady = steadyClock(clock)
    clock.advance(5000)
    expect(steady.now()).toBe(1_005_000)
    clock.step(10_000)
    clock.advance(100_000)
    expect([steady.now(), steady.shiftMs]).toEqual([1_107_000, 8000])
    clock.advance(400_000)
    expect([steady.now(), steady.shiftMs]).toEqual([clock.now(), 0])
  })

  test.each(steps)('never goes back: $step', ({ ms }) => {
    clock = new HandClock()
    const steady = steadyClock(clock)
    let last = steady.now()
    clock.step(ms)
    for (let i = 0; i < 1000; i++) {
      const now = steady.now()
      expect(now).toBeGreaterThanOrEqual(last)
      expect(now - last).toBeLessThanOrEqual(11)
      last = now
      clock.advance(10)
    }
  })
})
