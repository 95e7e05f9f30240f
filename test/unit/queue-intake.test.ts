/** The way into a queue: terms, limits, and what publishers hear when a queue is full. */
import { afterEach, describe, expect, test } from 'vitest'
import type { ConfigInput } from '../../src/config/schema.ts'
import { decodeTerms, deliverAtOf, type EntryTerms, encodeTerms, expiryOf, keyOf } from '../../src/queue/terms.ts'
import { type InlineBroker, startBroker } from '../support/broker-inline.ts'
import { RawClient } from '../support/raw-client.ts'

describe('terms', () => {
  test('what is written is read', () => {
    const terms: EntryTerms = {
      key: Buffer.from([0, 255, 7]),
      deduplicationKey: Buffer.from('d'),
      priority: 9,
      deliverAt: 1_800_000_000_123,
      expiresAt: 1_900_000_000_000,
      rule: 'r',
      note: 'ü'.repeat(100),
      id: 'a-1',
      deadLetter: { queue: 'q', id: 'i', attempts: 2, at: 3, failures: [{ at: 1, attempt: 1, reason: 'x' }] },
      replayedAt: 5,
    }
    const extra = encodeTerms(terms)
    expect(decodeTerms(extra)).toEqual(terms)
    expect([keyOf(extra), deliverAtOf(extra), expiryOf(extra)]).toEqual([
      '\0\xff\x07',
      terms.deliverAt,
      terms.expiresAt,
    ])
  })

  test('a plain message has none, and a field of a later version is passed over', () => {
    expect(encodeTerms({ priority: 4 })).toBeNull()
    expect(decodeTerms(null)).toEqual({})
    expect([keyOf(null), deliverAtOf(null), expiryOf(null)]).toEqual(['', 0, Number.POSITIVE_INFINITY])
    const extra = Buffer.from([1, 99, 2, 0, 0, 3, 1, 8])
    expect(decodeTerms(extra)).toEqual({ priority: 8 })
  })

  test('dead letters of earlier versions are read', () => {
    const deadLetter = { queue: 'q', id: 'i', attempts: 1, at: 1, failures: [] }
    expect(decodeTerms(Buffer.from(JSON.stringify(deadLetter)))).toEqual({ deadLetter })
    expect(keyOf(Buffer.from(JSON.stringify(deadLetter)))).toBe('')
  })

  test('what is cut off is an error', () => {
    expect(() => decodeTerms(Buffer.from([1, 1, 5, 0]))).toThrow(/cut off/)
    expect(() => decodeTerms(Buffer.from([7]))).toThrow(/unknown/)
  })
})

describe('a queue that is full', () => {
  let broker: InlineBroker
  afterEach(() => broker.stop())

  type Limits = NonNullable<NonNullable<ConfigInput['queues']>[string]['limits']>

  async function start(limits: Limits): Promise<void> {
    broker = await startBroker({
      bridge: [{ topicFilter: 't', queue: 'work' }],
      queues: { work: { limits: { messagesMax: 2, ...limits } } },
    })
  }

  async function payloads(queue: string): Promise<string[]> {
    const response = await fetch(`${broker.http}/api/v1/queues/${queue}/pull`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ max: 100 }),
    })
    const { messages } = (await response.json()) as { messages: { payload: string; receipt: string }[] }
    if (messages.length > 0)
      await fetch(`${broker.http}/api/v1/queues/${queue}/ack`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ receipts: messages.map(({ receipt }) => receipt) }),
      })
    return messages.map(({ payload }) => payload)
  }

  async function fill(version: 4 | 5): Promise<RawClient> {
    const client = await RawClient.connected(broker.mqtt, { clientId: 'p', version })
    for (const payload of ['1', '2']) {
      client.startPublish({ topic: 't', payload, qos: 1 })
      await client.expect('puback')
    }
    return client
  }

  test('refuse: MQTT 5 hears 0x97 [v5 3.4.2.1] and nobody gets the message', async () => {
    await start({ whenFull: 'refuse' })
    const watcher = await RawClient.connected(broker.mqtt, { clientId: 'w', version: 5 })
    await watcher.subscribe('t')
    const client = await fill(5)
    client.startPublish({ topic: 't', payload: '3', qos: 1 })
    expect((await client.expect('puback')).code).toBe(0x97)
    client.startPublish({ topic: 't', payload: '4', qos: 2 })
    expect((await client.expect('pubrec')).code).toBe(0x97)
    expect(await payloads('work')).toEqual(['1', '2'])
    client.startPublish({ topic: 't', payload: '5', qos: 1 })
    expect((await client.expect('puback')).code).toBe(0)
    const seen: string[] = []
    for (let i = 0; i < 3; i++) seen.push((await watcher.expect('publish')).payload.toString())
    expect(seen).toEqual(['1', '2', '5'])
  })

  test('refuse: the connection of an MQTT 3 client ends, without an acknowledgement', async () => {
    await start({ whenFull: 'refuse' })
    const client = await fill(4)
    client.startPublish({ topic: 't', payload: '3', qos: 1 })
    await client.closed
    expect(await payloads('work')).toEqual(['1', '2'])
  })

  test('a QoS 0 message is dropped and counted, and subscribers still get it', async () => {
    await start({ whenFull: 'refuse' })
    const client = await fill(4)
    await client.subscribe('t')
    client.startPublish({ topic: 't', payload: '3', qos: 0 })
    expect((await client.expect('publish')).payload.toString()).toBe('3')
    expect(await payloads('work')).toEqual(['1', '2'])
    const metrics = await (await fetch(`${broker.http}/metrics`)).text()
    expect(metrics).toMatch(/dropped_total\{cause="queue_full"\} 1/)
  })

  test('block: the acknowledgement waits for room, and later packets wait their turn', async () => {
    await start({ whenFull: 'block', blockMs: 60_000 })
    const client = await fill(5)
    const ids = ['t', 'elsewhere'].map((topic) => client.startPublish({ topic, payload: '3', qos: 1 }))
    await client.expectNothing(50)
    expect(await payloads('work')).toEqual(['1', '2'])
    const acks = [await client.expect('puback'), await client.expect('puback')]
    expect(acks.map(({ packetId, code }) => [packetId, code])).toEqual(ids.map((id) => [id, 0]))
    expect(await payloads('work')).toEqual(['3'])
  })

  test('block: who waited too long is refused', async () => {
    await start({ whenFull: 'block', blockMs: 30 })
    const client = await fill(5)
    client.startPublish({ topic: 't', payload: '3', qos: 1 })
    expect((await client.expect('puback')).code).toBe(0x97)
    client.startPublish({ topic: 'elsewhere', payload: 'x', qos: 1 })
    expect((await client.expect('puback')).code).toBe(0x10)
  })

  test('block: a client that goes away while it waits leaves nothing behind', async () => {
    await start({ whenFull: 'block', blockMs: 200 })
    const client = await fill(4)
    client.startPublish({ topic: 't', payload: '3', qos: 1 })
    await client.expectNothing(20)
    client.reset()
    await client.closed
    const other = await RawClient.connected(broker.mqtt, { clientId: 'p', version: 4 })
    expect(await payloads('work')).toEqual(['1', '2'])
    other.startPublish({ topic: 't', payload: '4', qos: 1 })
    await other.expect('puback')
    expect(await payloads('work')).toEqual(['4'])
  })

  test('drop-new: acknowledged and not kept', async () => {
    await start({ whenFull: 'drop-new' })
    const client = await fill(5)
    client.startPublish({ topic: 't', payload: '3', qos: 1 })
    expect((await client.expect('puback')).code).toBe(0)
    expect(await payloads('work')).toEqual(['1', '2'])
  })

  test('overflow: into the other queue', async () => {
    await start({ whenFull: 'overflow', overflowQueue: 'spill' })
    const client = await fill(4)
    client.startPublish({ topic: 't', payload: '3', qos: 1 })
    await client.expect('puback')
    expect([await payloads('work'), await payloads('spill')]).toEqual([['1', '2'], ['3']])
  })
})
