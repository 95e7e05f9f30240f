/** MQTT 5, section 3.3.2.3.3: the Message Expiry Interval. */
import { expect, test } from 'vitest'
import type { RawClient } from '../../support/raw-client.ts'
import { brokerUnderTest, persistent } from '../table/subject.ts'

const subject = brokerUnderTest({ store: 'lmdb' })

const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
const expiring = (topic: string, seconds: number, qos = 1) => ({
  topic,
  payload: String(seconds),
  qos,
  properties: { messageExpiryInterval: seconds, userProperty: [['k', 'v']] as [string, string][] },
})
const seconds = (packet: { properties: Record<string, unknown> }) => packet.properties.messageExpiryInterval

/** How long messages have waited, at least and at most: published between `begun` and `done`. */
class Waited {
  readonly #begun = performance.now()
  #done = 0
  #asked = 0
  /** All are published. */
  done(): void {
    this.#done = performance.now()
  }
  /** From now on they may be delivered. */
  asked(): void {
    this.#asked = performance.now()
  }
  /** What has come by now has what is left of its interval. */
  expectLeft(packet: { properties: Record<string, unknown> }, interval: number): void {
    const left = Number(seconds(packet))
    expect(left).toBeLessThanOrEqual(Math.ceil(interval - (this.#asked - this.#done) / 1000))
    expect(left).toBeGreaterThanOrEqual(Math.floor(interval - (performance.now() - this.#begun) / 1000))
  }
}

test('a message that is delivered at once keeps its interval [v5 MQTT-3.3.2-6]', async () => {
  const client = await subject.subscriber(5, 'at-once', 2)
  for (const qos of [0, 1, 2]) {
    await client.publish(expiring('at-once', 100, qos))
    expect(seconds(await client.receive())).toBe(100)
  }
})

test('a session that was away gets what is left of it, and nothing that ran out [v5 MQTT-3.3.2-5] [v5 MQTT-3.3.2-6]', async () => {
  await subject.leaveSession(5, 'away', ['expiry/away', 2])
  await subject.leaveSession(4, 'away-3', ['expiry/away', 2])
  const publisher = await subject.connect(5)
  const waited = new Waited()
  for (const qos of [1, 2]) {
    await publisher.publish(expiring('expiry/away', 1, qos))
    await publisher.publish(expiring('expiry/away', 100, qos))
  }
  waited.done()
  await wait(1_100)
  waited.asked()
  for (const version of [5, 4] as const) {
    const client = await subject.connect(version, persistent(version, version === 5 ? 'away' : 'away-3'))
    for (const qos of [1, 2]) {
      const got = await client.receive()
      expect(got).toMatchObject({ qos, payload: Buffer.from('100') })
      if (version === 5) waited.expectLeft(got, 100)
      if (version === 5) expect(got.properties.userProperty).toEqual([['k', 'v']])
    }
    await client.ping()
    expect(client.takeAll('publish')).toEqual([])
  }
})

test('a retained message counts down, and is gone when it ran out [v5 MQTT-3.3.2-5] [v5 MQTT-3.3.2-6]', async () => {
  const publisher = await subject.connect(5)
  const waited = new Waited()
  await publisher.publish({ ...expiring('retained/short', 1), retain: true })
  await publisher.publish({ ...expiring('retained/long', 100), retain: true })
  waited.done()
  await wait(1_100)
  waited.asked()
  const clients: RawClient[] = [
    await subject.subscriber(5, 'retained/#', 1),
    await subject.subscriber(4, 'retained/#', 1),
  ]
  for (const client of clients) {
    const got = await client.receive()
    expect(got.topic).toBe('retained/long')
    if (client.version === 5) waited.expectLeft(got, 100)
    await client.ping()
    expect(client.takeAll('publish')).toEqual([])
  }
})

for (const clean of [true, false]) {
  test(`a message behind a full window counts down and runs out, in a session that is ${clean ? 'not ' : ''}kept [v5 MQTT-3.3.2-5] [v5 MQTT-3.3.2-6]`, async () => {
    const client = await subject.dial()
    const sessionExpiryInterval = clean ? 0 : 60
    await client.connect({ version: 5, clean: true, properties: { receiveMaximum: 1, sessionExpiryInterval } })
    await client.subscribe(['window', 1])
    const publisher = await subject.connect(5)
    const waited = new Waited()
    await publisher.publish(expiring('window', 50))
    await publisher.publish(expiring('window', 1))
    await publisher.publish(expiring('window', 100))
    waited.done()
    const first = await client.expect('publish')
    await wait(1_100)
    waited.asked()
    client.ack('puback', first.packetId)
    const next = await client.receive()
    expect(next.payload.toString()).toBe('100')
    waited.expectLeft(next, 100)
    expect(next.properties.userProperty).toEqual([['k', 'v']])
  })
}

test('a QoS 2 message that was sent once is sent again though it ran out meanwhile [v5 MQTT-4.3.3-7]', async () => {
  const client = await subject.connect(5, persistent(5, 'sent-once'))
  await client.subscribe(['sent-once', 2])
  const publisher = await subject.connect(5)
  await publisher.publish(expiring('sent-once', 1, 2))
  const { packetId } = await client.expect('publish')
  await client.drop()
  await publisher.publish(expiring('sent-once', 1, 2))
  await wait(1_100)
  const again = await subject.connect(5, persistent(5, 'sent-once'))
  expect(await again.receive()).toMatchObject({ packetId, dup: true, qos: 2 })
  // The one that came while the client was away was not sent before: it is gone.
  await again.ping()
  expect(again.takeAll('publish')).toEqual([])
})

test('a will counts from the moment it is published [v5 MQTT-3.3.2-6]', async () => {
  const watcher = await subject.subscriber(5, 'will/expiry')
  const properties = { messageExpiryInterval: 10, willDelayInterval: 1 }
  const client = await subject.connect(5, { ...persistent(5, 'will'), will: { topic: 'will/expiry', properties } })
  client.reset()
  expect(seconds(await watcher.receive())).toBe(10)
})
