/** Takeover and wills: facts about stock Aedes 16, 18 and 20, and what we do instead. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type EmbeddedBroker, embedBroker } from '../../support/broker-inline.ts'
import { RawClient } from '../../support/raw-client.ts'
import type { RawConnect } from '../../support/raw-packets.ts'

let broker: EmbeddedBroker
beforeAll(async () => {
  broker = await embedBroker()
})
afterAll(() => broker?.stop())

const open = (clientId: string, options: RawConnect = {}) => RawClient.connected(broker.mqtt, { clientId, ...options })

describe('takeover', () => {
  test('aedes#16: the second connection closes the first, the third the second: one client id, one connection [v3 MQTT-3.1.4-2]', async () => {
    const first = await open('t16')
    await first.subscribe('t16')
    // The first connection closes slowly: it does not read, and the broker has much to send to it.
    first.freeze()
    const publisher = await open('t16-pub')
    for (let i = 0; i < 200; i++) publisher.startPublish({ topic: 't16', payload: Buffer.alloc(20_000) })
    await publisher.ping()
    const second = await open('t16')
    first.thaw()
    await first.expectClosed()
    await second.ping()
    expect(second.isClosed).toBe(false)
    const third = await open('t16')
    await second.expectClosed()
    await third.subscribe(['t16/now', 1])
    await publisher.publish({ topic: 't16/now', payload: 'x', qos: 1 })
    expect((await third.receive()).payload.toString()).toBe('x')
    await Promise.all([third.disconnect(), publisher.disconnect()])
  })

  test('aedes#16: a connection that is slow to leave does not take the registration of its successor with it', async () => {
    const watch = await open('t16-slow-watch')
    broker.faults.delayMs = 30
    try {
      const first = await open('t16-slow')
      await first.subscribe(['t16/slow', 1])
      first.reset()
      const second = await open('t16-slow')
      await new Promise((resolve) => setTimeout(resolve, 100))
      await second.ping()
      const third = await open('t16-slow')
      await second.expectClosed()
      await third.subscribe(['t16/slow', 1])
      watch.startPublish({ topic: 't16/slow', qos: 1 })
      await third.receive()
      await third.disconnect()
    } finally {
      broker.faults.heal()
    }
    await watch.disconnect()
  })

  test('aedes#16: many connections at once with one client id leave exactly one', async () => {
    const clients = await Promise.all(Array.from({ length: 10 }, () => RawClient.open(broker.mqtt)))
    await Promise.allSettled(clients.map((client) => client.connect({ clientId: 't16-many', clean: false })))
    const watcher = await open('t16-watch')
    await expect.poll(() => clients.filter((client) => !client.isClosed).length).toBe(1)
    await watcher.ping()
    const left = clients.find((client) => !client.isClosed)!
    await left.subscribe(['t16/many', 1])
    await watcher.publish({ topic: 't16/many', qos: 1 })
    await left.receive()
    await Promise.all([left.disconnect(), watcher.disconnect()])
  })

  test('aedes#16: the takeover of a persistent session hands over what is in flight, with DUP [v3 MQTT-4.4.0-1]', async () => {
    const first = await open('t16-flight', { clean: false })
    await first.subscribe(['t16/flight', 1])
    const publisher = await open('t16-pub2')
    await publisher.publish({ topic: 't16/flight', payload: '1', qos: 1 })
    await publisher.publish({ topic: 't16/flight', payload: '2', qos: 1 })
    const [one] = await first.expectPublishes(2)
    const second = await open('t16-flight', { clean: false })
    const again = await second.expectPublishes(2)
    expect(again.map((packet) => [packet.payload.toString(), packet.dup])).toEqual([
      ['1', true],
      ['2', true],
    ])
    expect(again[0]!.packetId).toBe(one!.packetId)
    await Promise.all([second.disconnect(), publisher.disconnect(), first.expectClosed()])
  })
})

describe('wills', () => {
  async function watcher(clientId: string, ...filters: string[]): Promise<RawClient> {
    const client = await open(clientId)
    await client.subscribe(...filters.map((filter): [string, number] => [filter, 1]))
    return client
  }

  test('aedes#18: takeover publishes the will of the old connection and keeps the will of the new one [v3 MQTT-3.1.2-8]', async () => {
    const watch = await watcher('t18-watch', 't18/will')
    const will = (payload: string) => ({ will: { topic: 't18/will', payload, qos: 1 } })
    const first = await open('t18', will('of the first'))
    const second = await open('t18', will('of the second'))
    await first.expectClosed()
    expect((await watch.receive()).payload.toString()).toBe('of the first')
    await watch.expectNothing(50)
    second.reset()
    expect((await watch.receive()).payload.toString()).toBe('of the second')
    await watch.expectNothing(50)
    await watch.disconnect()
  })

  test('aedes#18: DISCONNECT discards the will, a reset publishes it [v3 MQTT-3.14.4-3]', async () => {
    const watch = await watcher('t18-watch2', 't18/2/+')
    const will = (name: string) => ({ will: { topic: `t18/2/${name}`, payload: name, qos: 1, retain: true } })
    const polite = await open('t18-polite', will('polite'))
    await polite.disconnect()
    const crashed = await open('t18-crashed', will('crashed'))
    crashed.reset()
    expect(await watch.receive()).toMatchObject({ topic: 't18/2/crashed', retain: false, qos: 1 })
    await watch.expectNothing(50)
    const late = await watcher('t18-late', 't18/2/+')
    expect(await late.receive()).toMatchObject({ topic: 't18/2/crashed', retain: true })
    await Promise.all([watch.disconnect(), late.disconnect()])
  })

  for (const topic of ['w20/+', 'w20/#', '#', '']) {
    test(`aedes#20: a will on '${topic}' is refused: it is no Topic Name [v3 MQTT-3.3.2-2]`, async () => {
      const client = await RawClient.open(broker.mqtt)
      const answer = client.connect({ clientId: 'w20', will: { topic, payload: 'x' } })
      const code = await answer.then((connack) => connack.code).catch(() => -1)
      expect(code, 'the CONNECT was accepted').not.toBe(0)
      await client.expectClosed()
    })
  }

  test('aedes#20: a will under $SYS reaches nobody and breaks nothing', async () => {
    const errors: unknown[] = []
    broker.aedes.on('error' as never, ((error: unknown) => errors.push(error)) as never)
    const watch = await watcher('w20-watch', '#', '$SYS/w20')
    const client = await RawClient.open(broker.mqtt)
    const will = { topic: '$SYS/w20', payload: 'forged', qos: 1, retain: true }
    const code = await client.connect({ clientId: 'w20-sys', will }).then(
      (connack) => connack.code,
      () => -1,
    )
    if (code === 0) client.reset()
    await client.expectClosed()
    await watch.ping()
    expect(await watch.payloadsWithin(100)).not.toContain('forged')
    expect(errors).toEqual([])
    await watch.disconnect()
  })
})
