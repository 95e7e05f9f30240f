/**
 * A slow reader costs only itself: facts about stock Aedes 30, 31, 33 and 47. The broker is a process of its own, so
 * that its memory can be seen and a crash is a crash.
 */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { BrokerProcess } from '../support/broker-process.ts'
import { RawClient } from '../support/raw-client.ts'
import { encodeRawPublish } from '../support/raw-packets.ts'

const mebibyte = 1024 * 1024
const outboundBytesMax = 4 * mebibyte
const sessionQueuedBytesMax = 4 * mebibyte

let broker: BrokerProcess
beforeAll(async () => {
  const limits = { outboundBytesMax, sessionQueuedBytesMax, drainTimeoutMs: 60_000 }
  broker = await BrokerProcess.start({ config: { limits, log: { level: 'warn' } } })
})
afterAll(() => broker?.stop())

const open = (clientId: string) => RawClient.connected(broker.mqtt, { clientId })

/**
 * Publishes as fast as a healthy reader in this very process keeps up (it lags `lagMax` messages at most, since QoS 0
 * to a reader that lags behind its cap is rightly dropped) until told to stop; resolves with the number of messages sent.
 */
function flood(
  publisher: RawClient,
  topic: string,
  payloadBytes: number,
  healthy: { count: number },
): { stop: () => Promise<number> } {
  const batch = 50
  const lagMax = Math.min(2_000, Math.floor(mebibyte / payloadBytes))
  const frame = encodeRawPublish({ topic, payload: Buffer.alloc(payloadBytes) })
  const frames = Buffer.concat(Array.from({ length: batch }, () => frame))
  const before = healthy.count
  let running = true
  const done = (async () => {
    let sent = 0
    while (running && !publisher.isClosed) {
      if (sent - (healthy.count - before) < lagMax) {
        sent += batch
        if (publisher.send(frames)) continue
        await publisher.drained()
      }
      await new Promise((resolve) => setImmediate(resolve))
    }
    return sent
  })()
  return {
    stop: () => {
      running = false
      return done
    },
  }
}

/** Counts PUBLISH packets instead of keeping them. */
function counter(client: RawClient): { count: number } {
  const seen = { count: 0 }
  client.onPacket = (packet) => {
    if (packet.type !== 'publish') return false
    seen.count++
    return true
  }
  return seen
}

/** Messages that the broker has dropped so far, for whatever reason. */
async function dropped(): Promise<number> {
  const text = await (await fetch(`${broker.http}/metrics`)).text()
  const lines = text.split('\n').filter((line) => /drop/.test(line) && !line.startsWith('#'))
  return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

test('aedes#30 aedes#33: a reader frozen under full-speed publishing slows nobody and memory stays within its cap', async () => {
  const pairs = await Promise.all(
    ['beside', 'apart'].map(async (topic) => {
      const [publisher, reader] = await Promise.all([open(`${topic}-publisher`), open(`${topic}-reader`)])
      await reader.subscribe(topic)
      return { topic, publisher, reader, seen: counter(reader) }
    }),
  )
  const [beside, apart] = pairs

  /**
   * Both pairs at full speed at once for a while: how many messages one moves for each of the other. The pairs share
   * the machine and its noise, so the ratio says what only one of them suffers from.
   */
  async function compare(): Promise<number> {
    const moved = await Promise.all(
      pairs.map(async ({ topic, publisher, seen }) => {
        const before = seen.count
        const flooding = flood(publisher, topic, 1_000, seen)
        await sleep(700)
        const sent = await flooding.stop()
        await publisher.ping()
        await expect.poll(() => seen.count - before, { timeout: 10_000 }).toBe(sent)
        return sent
      }),
    )
    return moved[0]! / moved[1]!
  }

  await compare()
  const alone: number[] = []
  const frozenBeside: number[] = []
  const restingBytes = broker.residentBytes()
  let highestBytes = 0
  for (let round = 0; round < 5; round++) {
    alone.push(await compare())
    const frozen = await open(`frozen-${round}`)
    await frozen.subscribe(beside!.topic)
    frozen.freeze()
    // Until it holds all it may, it costs a copy of each message; from then on nothing.
    for (const before = await dropped(); (await dropped()) === before; ) await compare()
    frozenBeside.push(await compare())
    highestBytes = Math.max(highestBytes, broker.residentBytes())
    frozen.reset()
    await frozen.closed
  }
  const middle = (list: number[]) => list.toSorted((a, b) => a - b)[2]!
  const story = JSON.stringify({ alone, frozenBeside, restingBytes, highestBytes })
  // Stock Aedes stops here; a broker that shares nothing between connections does not notice.
  expect(middle(frozenBeside), story).toBeGreaterThan(middle(alone) * 0.8)
  expect(highestBytes - restingBytes, story).toBeLessThan(outboundBytesMax + 120 * mebibyte)
  await Promise.all([beside, apart].flatMap((pair) => [pair!.reader.disconnect(), pair!.publisher.disconnect()]))
})

test('aedes#33: what a frozen reader does not get is dropped, counted and shown in the metrics', async () => {
  const [frozen, publisher] = await Promise.all([open('counted'), open('counted-publisher')])
  await frozen.subscribe('counted')
  frozen.freeze()
  const payloadBytes = 50_000
  const messages = Math.ceil((outboundBytesMax * 5) / payloadBytes)
  for (let i = 0; i < messages; i++) {
    const frame = encodeRawPublish({ topic: 'counted', payload: Buffer.alloc(payloadBytes) })
    if (!publisher.send(frame)) await publisher.drained()
  }
  await publisher.ping()
  await expect.poll(dropped, { timeout: 15_000, interval: 200 }).toBeGreaterThan(messages / 4)
  frozen.reset()
  await publisher.disconnect()
})

test('aedes#33: frozen readers at QoS 1, over WebSocket and with sessions of either kind, stay within the limits of a session', async () => {
  const [clean, kept, publisher] = await Promise.all([
    RawClient.connected(broker.ws, { clientId: 'frozen-ws' }),
    RawClient.connected(broker.mqtt, { clientId: 'frozen-kept', clean: false }),
    open('qos1-publisher'),
  ])
  for (const client of [clean, kept]) {
    await client.subscribe(['heavy', 1])
    client.freeze()
  }
  let acknowledged = 0
  publisher.onPacket = (packet) => packet.type === 'puback' && ++acknowledged > 0
  const before = broker.residentBytes()
  const payload = Buffer.alloc(50_000)
  const total = 1_500
  for (let sent = 0; sent < total; sent++) {
    publisher.startPublish({ topic: 'heavy', payload, qos: 1 })
    if (sent - acknowledged > 50) await expect.poll(() => sent - acknowledged, { interval: 5 }).toBeLessThan(25)
  }
  await expect.poll(() => acknowledged, { timeout: 10_000 }).toBe(total)
  // 75 MB went by; the session queues hold 4 MiB each, what is cached of the store 32 MiB.
  expect(broker.residentBytes() - before).toBeLessThan(2 * sessionQueuedBytesMax + outboundBytesMax + 120 * mebibyte)
  clean.reset()
  kept.reset()
  await publisher.disconnect()
})

test('aedes#31: subscribers that leave under full-speed publishing do not take the process with them', async () => {
  const [publisher, steady] = await Promise.all([open('full-speed'), open('steady')])
  await steady.subscribe('rush')
  const seen = counter(steady)
  const flooding = flood(publisher, 'rush', 20, seen)
  const { pid } = broker
  for (let i = 0; i < 20; i++) {
    const leaver = await RawClient.connected(broker.mqtt, { clientId: `leaver-${i}`, clean: i % 2 === 0 })
    await leaver.subscribe(['rush', i % 3])
    if (i % 4 === 0) leaver.freeze()
    await sleep(20)
    if (i % 2 === 0) leaver.reset()
    else {
      leaver.onPacket = (packet) => packet.type === 'publish'
      await leaver.disconnect()
    }
  }
  const sent = await flooding.stop()
  await publisher.ping()
  await expect.poll(() => seen.count, { timeout: 10_000 }).toBe(sent)
  expect(broker.running && broker.pid === pid, broker.stderr).toBe(true)
  expect((await fetch(`${broker.http}/health/ready`)).status).toBe(200)
  await Promise.all([publisher.disconnect(), steady.disconnect()])
})

test('aedes#32: publishers in bursts and publishers in tiny segments are read to the end', async () => {
  const reader = await open('reader')
  await reader.subscribe('read/#')
  const seen = counter(reader)
  const bursts = await open('bursts')
  const tiny = await open('tiny')
  const frame = (topic: string) => encodeRawPublish({ topic, payload: 'x'.repeat(100) })
  const burst = Buffer.concat(Array.from({ length: 20_000 }, () => frame('read/burst')))
  bursts.send(burst)
  await tiny.sendPieces(Buffer.concat(Array.from({ length: 40 }, () => frame('read/tiny'))), 3)
  await Promise.all([bursts.ping(), tiny.ping()])
  await expect.poll(() => seen.count, { timeout: 10_000 }).toBe(20_040)
  await Promise.all([reader, bursts, tiny].map((client) => client.disconnect()))
})
