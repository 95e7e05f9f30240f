/** What kill -9 must not take: wills, sessions, leases. One crash each, in known places. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { BrokerProcess } from '../support/broker-process.ts'
import { RawClient } from '../support/raw-client.ts'
import type { RawConnect } from '../support/raw-packets.ts'

let broker: BrokerProcess
beforeAll(async () => {
  const config = {
    log: { level: 'warn' },
    bridge: [{ topicFilter: 'crash/queue', queue: 'crash' }],
    queues: { crash: { backoff: { minMs: 1, maxMs: 1, factor: 1, jitter: 'none' } } },
  }
  broker = await BrokerProcess.start({ config })
})
afterAll(() => broker?.stop())

const open = (clientId: string, options: RawConnect = {}) => RawClient.connected(broker.mqtt, { clientId, ...options })

async function crash(): Promise<void> {
  await broker.kill('SIGKILL')
  await broker.start()
}

async function post(operation: string, body: object): Promise<Record<string, never[]>> {
  const answer = await fetch(`${broker.http}/api/v1/queues/crash/${operation}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  return (await answer.json()) as Record<string, never[]>
}

test('aedes#19 aedes#18: the will of a connection that died with the broker is published after the restart, once, and it is the last will', async () => {
  const watch = await open('c-watch', { clean: false })
  await watch.subscribe(['crash/will', 2])
  const will = (payload: string) => ({ will: { topic: 'crash/will', payload, qos: 2 } })
  await open('c-will', { ...will('of the first'), clean: false })
  await open('c-will', { ...will('of the second'), clean: false })
  expect((await watch.receive()).payload.toString()).toBe('of the first')
  await watch.disconnect()
  await crash()
  const back = await open('c-watch', { clean: false })
  expect((await back.receive()).payload.toString()).toBe('of the second')
  await crash()
  const later = await open('c-watch', { clean: false })
  await later.ping()
  await later.expectNothing(200, 'publish')
  await later.disconnect()
})

test('a session that was accepted is there after a crash, also when it did nothing yet [v3 MQTT-3.2.2-2]', async () => {
  const client = await open('c-session', { clean: false })
  await client.ping()
  await crash()
  const back = await RawClient.open(broker.mqtt)
  expect((await back.connect({ clientId: 'c-session', clean: false })).sessionPresent).toBe(true)
  await back.subscribe(['crash/granted', 1])
  await crash()
  const publisher = await open('c-pub')
  await publisher.publish({ topic: 'crash/granted', payload: 'after SUBACK', qos: 1 })
  const again = await open('c-session', { clean: false })
  expect((await again.receive()).payload.toString()).toBe('after SUBACK')
  await again.unsubscribe('crash/granted')
  await crash()
  const second = await open('c-pub')
  await second.publish({ topic: 'crash/granted', payload: 'after UNSUBACK', qos: 1 })
  const last = await open('c-session', { clean: false })
  await last.ping()
  await last.expectNothing(50, 'publish')
  await Promise.all([last.disconnect(), second.disconnect()])
})

test('a session that ended with a clean CONNECT stays ended after a crash [v3 MQTT-3.1.2-6]', async () => {
  const kept = await open('c-clean', { clean: false })
  await kept.subscribe(['crash/clean', 1])
  await kept.disconnect()
  const clean = await open('c-clean', { clean: true })
  await clean.ping()
  await crash()
  const back = await RawClient.open(broker.mqtt)
  expect((await back.connect({ clientId: 'c-clean', clean: false })).sessionPresent).toBe(false)
  await back.disconnect()
})

test('in-flight messages keep their Packet Identifiers and get DUP after a crash [v3 MQTT-4.4.0-1] [v3 MQTT-3.3.1-1]', async () => {
  const subscriber = await open('c-flight', { clean: false })
  await subscriber.subscribe(['crash/flight', 2])
  const publisher = await open('c-flight-pub')
  await publisher.publish({ topic: 'crash/flight', payload: '1', qos: 1 })
  await publisher.publish({ topic: 'crash/flight', payload: '2', qos: 2 })
  await publisher.publish({ topic: 'crash/flight', payload: '3', qos: 2 })
  const [one, two, three] = await subscriber.expectPublishes(3)
  subscriber.ack('pubrec', three!.packetId)
  await subscriber.expect('pubrel')
  await crash()
  const back = await open('c-flight', { clean: false })
  const again = await back.expectPublishes(2)
  expect(again).toEqual([
    { ...one, dup: true },
    { ...two, dup: true },
  ])
  expect(await back.expect('pubrel')).toMatchObject({ packetId: three!.packetId })
  await back.disconnect()
})

test('after a crash only what may have been sent before carries DUP: a new message does not [v3 MQTT-3.3.1-1]', async () => {
  const subscriber = await open('c-dup', { clean: false })
  await subscriber.subscribe(['crash/dup', 1])
  const before = await open('c-dup-pub')
  await before.publish({ topic: 'crash/dup', payload: 'sent before', qos: 1 })
  await subscriber.expect('publish')
  await crash()
  const publisher = await open('c-dup-pub')
  await publisher.publish({ topic: 'crash/dup', payload: 'published while away', qos: 1 })
  const back = await open('c-dup', { clean: false })
  expect(await back.receive()).toMatchObject({ dup: true })
  expect(await back.receive()).toMatchObject({ dup: false })
  await publisher.publish({ topic: 'crash/dup', payload: 'live', qos: 1 })
  expect(await back.receive()).toMatchObject({ dup: false })
  await Promise.all([back.disconnect(), publisher.disconnect()])
})

test('a lease outlives the broker: its receipt still acknowledges, and nobody else gets the message meanwhile', async () => {
  interface Pulled {
    messages: { receipt: string; payload: string; id: string; attempt: number }[]
  }
  const pull = async (body: object) => ((await post('pull', body)) as unknown as Pulled).messages
  const publisher = await open('c-queue-pub')
  for (const payload of ['kept', 'lost']) await publisher.publish({ topic: 'crash/queue', payload, qos: 1 })
  const [kept] = await pull({ leaseMs: 60_000 })
  const [lost] = await pull({ leaseMs: 500 })
  expect([kept!.payload, lost!.payload]).toEqual(['kept', 'lost'])
  await crash()
  expect(await pull({ max: 2, waitMs: 5_000 })).toMatchObject([{ payload: 'lost', attempt: 2, id: lost!.id }])
  const receipt = kept!.receipt
  expect(await post('ack', { receipts: [receipt] })).toEqual({ results: [{ receipt, ok: true }] })
  await crash()
  expect(await pull({ max: 2, waitMs: 200 })).toEqual([])
  const late = await post('ack', { receipts: [lost!.receipt] })
  expect(late).toMatchObject({ results: [{ ok: false, error: 'receipt_lost' }] })
})
