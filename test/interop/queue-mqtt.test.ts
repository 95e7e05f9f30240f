/** Work queues over MQTT: `$queue/<name>` on 3.1.1 and 5. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type InlineBroker, startBroker } from '../support/broker-inline.ts'
import { RawClient } from '../support/raw-client.ts'
import { encodeRawAck, type RawConnect } from '../support/raw-packets.ts'

const QUICK = ['work', 'retry', 'poison', 'window', 'give', 'kept', 'mixed', 'late'] as const

let broker: InlineBroker
const clients: RawClient[] = []

beforeAll(async () => {
  const settings = { leaseMs: 60_000, maxAttempts: 3, backoff: { minMs: 1, maxMs: 1 } }
  broker = await startBroker({
    bridge: QUICK.map((queue) => ({ topicFilter: `${queue}/#`, queue })),
    queues: {
      ...Object.fromEntries(QUICK.map((queue) => [queue, settings])),
      poison: { ...settings, maxAttempts: 1 },
      kept: { ...settings, groups: ['audit'] },
      late: { ...settings, leaseMs: 200, backoff: { minMs: 1, maxMs: 1 } },
    },
  })
})

afterAll(async () => {
  for (const client of clients) client.reset()
  await broker.stop()
})

async function connect(options: RawConnect = {}): Promise<RawClient> {
  const client = await RawClient.connected(broker.mqtt, options)
  clients.push(client)
  return client
}

async function publish(queue: string, ...payloads: string[]): Promise<void> {
  const device = await connect({ clientId: `device-${queue}` })
  for (const payload of payloads) await device.publish({ topic: `${queue}/a`, qos: 1, payload })
  await device.disconnect()
}

async function counts(queue: string): Promise<{ ready: number; leased: number; delayed: number }> {
  return (await (await fetch(`${broker.http}/api/v1/queues/${queue}`)).json()) as never
}

async function until(queue: string, wanted: object): Promise<void> {
  await expect.poll(() => counts(queue), { interval: 5 }).toMatchObject(wanted)
}

describe.each([4, 5] as const)('MQTT version %i', (version) => {
  test('a member gets messages under their own topic with QoS 1, and PUBACK ends them', async () => {
    const worker = await connect({ version })
    expect((await worker.subscribe(['$queue/work', 1])).codes).toEqual([1])
    await publish('work', 'one', 'two')
    const [one, two] = await worker.expectPublishes(2)
    expect([one!.topic, one!.payload.toString(), one!.qos, one!.dup, one!.retain]).toEqual([
      'work/a',
      'one',
      1,
      false,
      false,
    ])
    await until('work', { ready: 0, leased: 2 })
    worker.ack('puback', one!.packetId)
    worker.ack('puback', two!.packetId)
    await until('work', { ready: 0, leased: 0 })
    await worker.disconnect()
  })

  test('a queue that is not there is refused, and so is QoS 0; QoS 2 is granted as QoS 1', async () => {
    const worker = await connect({ version })
    const codes = (
      await worker.subscribe(['$queue/no-such', 1], ['$queue/work', 0], ['$queue/work', 2], ['$queue/', 1])
    ).codes
    expect(codes).toEqual(version === 5 ? [0x8f, 0x83, 1, 0x8f] : [0x80, 0x80, 1, 0x80])
    await worker.disconnect()
  })

  test('what a connection holds goes to another member when it ends, and the attempt does not count', async () => {
    const first = await connect({ version })
    await first.subscribe(['$queue/give', 1])
    await publish('give', 'x')
    await first.expect('publish')
    const second = await connect({ version: 5 })
    await second.subscribe(['$queue/give', 1])
    first.reset()
    const again = await second.expect('publish')
    expect(again.payload.toString()).toBe('x')
    expect(again.properties).toMatchObject({ userProperty: expect.arrayContaining([['sluicemq-attempt', '1']]) })
    second.ack('puback', again.packetId)
    await until('give', { ready: 0, leased: 0 })
    await second.disconnect()
  })

  test('a heartbeat is answered run, quiet or stop on the command topic, at once when somebody changes it', async () => {
    const id = `tick ${version}`
    const level = encodeURIComponent(id)
    const worker = await connect({ version })
    await worker.subscribe([`$workers/${level}/command`, 0])
    const said = JSON.stringify({ queue: 'work', running: 2, done: 'many' })
    await worker.publish({ topic: `$workers/${level}/heartbeat`, qos: 1, payload: said })
    expect((await worker.expectPublishes(1))[0]!.payload.toString()).toBe('run')
    const { workers } = (await (await fetch(`${broker.http}/api/v1/workers`)).json()) as { workers: { id: string }[] }
    expect(workers.find((one) => one.id === id)).toMatchObject({ queue: 'work', running: 2, command: 'run' })
    const init = { body: '{"command":"quiet"}', headers: { 'content-type': 'application/json' } }
    await fetch(`${broker.http}/api/v1/workers/${level}`, { method: 'PUT', ...init })
    expect((await worker.expectPublishes(1))[0]!.payload.toString()).toBe('quiet')
    // Again and again, with nothing to say: the same topic on the same connection.
    for (let i = 0; i < 3; i++) {
      worker.startPublish({ topic: `$workers/${level}/heartbeat`, qos: 0, payload: '' })
      expect((await worker.expectPublishes(1))[0]!.payload.toString()).toBe('quiet')
    }
  })

  test('only the broker says what a worker is to do', async () => {
    const client = await connect({ version })
    const publish = { topic: '$workers/w1/command', qos: 1 as const, payload: 'stop', packetId: 9 }
    client.startPublish(publish)
    if (version === 5) expect((await client.expect('puback')).code).toBe(0x87)
    else await client.closed
  })

  test('UNSUBSCRIBE ends the deliveries; what is held may still be acknowledged', async () => {
    const worker = await connect({ version })
    await worker.subscribe(['$queue/kept', 1])
    await publish('kept', 'held')
    const held = await worker.expect('publish')
    await worker.unsubscribe('$queue/kept')
    await publish('kept', 'left')
    worker.ack('puback', held.packetId)
    await until('kept', { ready: 1, leased: 0 })
    await worker.expectNothing(20, 'publish')
    await worker.subscribe(['$queue/kept', 1])
    const left = await worker.expect('publish')
    worker.ack('puback', left.packetId)
    await until('kept', { ready: 0, leased: 0 })
    await worker.disconnect()
  })
})

test('MQTT 5: user properties say queue, id and attempt; PUBACK of 0x80 and more means failed', async () => {
  const worker = await connect({ version: 5 })
  await worker.subscribe(['$queue/retry', 1])
  await publish('retry', 'again')
  const first = await worker.expect('publish')
  worker.send(encodeRawAck('puback', first.packetId, 0x80))
  const second = await worker.expect('publish')
  const facts = (packet: typeof first) => new Map(packet.properties['userProperty'] as [string, string][])
  expect(facts(first).get('sluicemq-queue')).toBe('retry')
  expect([facts(first).get('sluicemq-attempt'), facts(second).get('sluicemq-attempt')]).toEqual(['1', '2'])
  expect(facts(first).get('sluicemq-id')).toMatch(/^[0-9a-f]{16}-1$/)
  expect(facts(second).get('sluicemq-id')).toBe(facts(first).get('sluicemq-id'))
  worker.ack('puback', second.packetId)
  await until('retry', { ready: 0, leased: 0, delayed: 0 })
  await worker.disconnect()
})

test('a message that fails its last attempt becomes a dead letter', async () => {
  const worker = await connect({ version: 5 })
  await worker.subscribe(['$queue/poison', 1])
  await publish('poison', 'bad')
  worker.send(encodeRawAck('puback', (await worker.expect('publish')).packetId, 0x99))
  await until('poison.dead', { ready: 1 })
  await until('poison', { ready: 0, leased: 0, delayed: 0 })
  const pulled = await fetch(`${broker.http}/api/v1/queues/poison.dead/pull`, { method: 'POST' })
  const { messages } = (await pulled.json()) as { messages: { failures: { reason: string }[] }[] }
  expect(messages[0]!.failures[0]!.reason).toBe('reason code 0x99')
  await worker.disconnect()
})

test('the Receive Maximum is the prefetch, and each PUBACK lets more come [v5 MQTT-3.3.4-9]', async () => {
  const worker = await connect({ version: 5, properties: { receiveMaximum: 2 } })
  await worker.subscribe(['$queue/window', 1])
  await publish('window', ...Array.from({ length: 6 }, (_, i) => `${i}`))
  const seen: string[] = []
  const held = await worker.expectPublishes(2)
  await worker.expectNothing(30, 'publish')
  expect((await counts('window')).ready).toBe(4)
  while (seen.length < 6) {
    const packet = held.shift() ?? (await worker.expect('publish'))
    seen.push(packet.payload.toString())
    worker.ack('puback', packet.packetId)
  }
  expect(seen).toEqual(['0', '1', '2', '3', '4', '5'])
  await until('window', { ready: 0, leased: 0 })
  await worker.disconnect()
})

test('a lease that runs out gives the message to another member, and the late PUBACK is ignored', async () => {
  const slow = await connect({ version: 5 })
  await slow.subscribe(['$queue/late', 1])
  await publish('late', 'slow')
  const mine = await slow.expect('publish')
  await slow.unsubscribe('$queue/late')
  const quick = await connect({ version: 4 })
  await quick.subscribe(['$queue/late', 1])
  const theirs = await quick.expect('publish')
  slow.ack('puback', mine.packetId)
  await slow.ping()
  expect((await counts('late')).leased).toBe(1)
  quick.ack('puback', theirs.packetId)
  await until('late', { ready: 0, leased: 0, delayed: 0 })
  await slow.disconnect()
  await quick.disconnect()
})

test('a persistent session is a member again when it comes back', async () => {
  const options = { version: 5, clientId: 'keeper', properties: { sessionExpiryInterval: 100 } } as const
  const before = await connect(options)
  await before.subscribe(['$queue/kept', 1])
  await before.disconnect()
  await publish('kept', 'later')
  const after = await connect({ ...options, clean: false })
  const packet = await after.expect('publish')
  expect(packet.payload.toString()).toBe('later')
  after.ack('puback', packet.packetId)
  await until('kept', { ready: 0, leased: 0 })
  await after.unsubscribe('$queue/kept')
  await after.disconnect()
})

test('a consumer group is subscribed to as $queue/<name>@<group>, and sees every message', async () => {
  const members = await Promise.all(
    ['$queue/kept', '$queue/kept@audit'].map(async (filter) => {
      const worker = await connect({ version: 5 })
      expect((await worker.subscribe([filter, 1])).codes).toEqual([1])
      worker.autoAck = true
      return worker
    }),
  )
  // What the other tests left for the group comes first.
  await publish('kept', 'for both')
  for (const worker of members) await worker.expect('publish', ({ payload }) => payload.toString() === 'for both')
  await until('kept', { ready: 0, leased: 0 })
  await until('kept@audit', { ready: 0, leased: 0 })
  for (const worker of members) await worker.disconnect()
})

test('messages of queues and of subscriptions share the window, and their Packet Identifiers never meet', async () => {
  const worker = await connect({ version: 5, properties: { receiveMaximum: 10, sessionExpiryInterval: 0 } })
  await worker.subscribe(['$queue/mixed', 1], ['mixed/#', 1])
  const device = await connect({})
  const total = 300
  for (let i = 0; i < total; i++) device.startPublish({ topic: 'mixed/a', qos: 1, payload: `${i}` })
  const held = new Set<number>()
  const seen = new Map<string, number>()
  for (let got = 0; got < 2 * total; got++) {
    const packet = await worker.expect('publish')
    expect(held.has(packet.packetId)).toBe(false)
    held.add(packet.packetId)
    expect(held.size).toBeLessThanOrEqual(10)
    const text = packet.payload.toString()
    seen.set(text, (seen.get(text) ?? 0) + 1)
    if (got % 3 === 0 || held.size === 10)
      for (const id of held) {
        held.delete(id)
        worker.ack('puback', id)
      }
  }
  for (const id of held) worker.ack('puback', id)
  expect([...seen.values()].every((count) => count === 2)).toBe(true)
  expect(seen.size).toBe(total)
  await until('mixed', { ready: 0, leased: 0 })
  await device.disconnect()
  await worker.disconnect()
})
