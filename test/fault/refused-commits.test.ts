/**
 * What memory says after a commit that the disk refused: what it said before. Each kind of state once, against the LMDB store
 * with an engine that refuses on command, and again after a restart, which finds what is on disk.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type EmbeddedBroker, embedBroker } from '../support/broker-inline.ts'
import { RawClient } from '../support/raw-client.ts'
import type { RawConnect, Version } from '../support/raw-packets.ts'

let broker: EmbeddedBroker
beforeAll(async () => {
  broker = await embedBroker({ store: 'lmdb' })
})
afterEach(() => broker.faults.heal())
afterAll(() => broker.stop())

const kept = (clientId: string, version: Version = 5): RawConnect =>
  version === 5
    ? { clientId, version, clean: false, properties: { sessionExpiryInterval: 3600 } }
    : { clientId, version, clean: false }
const open = (options: RawConnect = { version: 5 }) => RawClient.connected(broker.mqtt, options)

/** What a new subscriber is sent at once. */
async function retainedOn(topicFilter: string): Promise<string[]> {
  const client = await open()
  await client.subscribe([topicFilter, 0])
  await client.ping()
  const got = client.takeAll('publish').map(({ topic, payload }) => `${topic}=${payload}`)
  await client.disconnect()
  return got.sort()
}

/** Publishes with QoS 1; the reason code of the PUBACK. */
async function publish(client: RawClient, topic: string, payload: string, retain = false): Promise<number> {
  const packetId = client.startPublish({ topic, payload, qos: 1, retain })
  return (await client.expect('puback', (packet) => packet.packetId === packetId)).code
}

describe('a retained message whose commit fails', () => {
  test('is not there afterwards: the one before it is, and stays after a restart', async () => {
    const client = await open()
    expect(await publish(client, 'r/a', 'first', true)).toBeLessThan(0x80)
    broker.faults.failing = true
    expect(await publish(client, 'r/a', 'second', true)).toBe(0x80)
    expect(await publish(client, 'r/new', 'never', true)).toBe(0x80)
    expect(await publish(client, 'r/a', '', true)).toBe(0x80)
    expect(await retainedOn('r/#')).toEqual(['r/a=first'])
    broker.faults.heal()
    expect(await retainedOn('r/#')).toEqual(['r/a=first'])
    await broker.restart()
    expect(await retainedOn('r/#')).toEqual(['r/a=first'])
  })

  test('at QoS 0, where nobody can be told, is not there either', async () => {
    const client = await open()
    await publish(client, 'r0/a', 'first', true)
    broker.faults.failing = true
    client.startPublish({ topic: 'r0/a', payload: 'second', qos: 0, retain: true })
    client.startPublish({ topic: 'r0/b', payload: 'second', qos: 0, retain: true })
    await client.ping()
    // Each is a group of its own; the answer to this one comes after both.
    expect(await publish(client, 'r0/c', 'x', true)).toBe(0x80)
    expect(await retainedOn('r0/#')).toEqual(['r0/a=first'])
  })

  test('takes back what several groups under way made of it, to what is on disk', async () => {
    const client = await open()
    await publish(client, 'rr/a', 'first', true)
    await publish(client, 'rr/gone', 'first', true)
    broker.faults.hold()
    const packetIds: number[] = []
    for (const payload of ['second', '', 'third', 'fourth']) {
      for (const topic of ['rr/a', 'rr/gone'])
        packetIds.push(client.startPublish({ topic, payload, qos: 1, retain: true }))
      await client.ping()
    }
    broker.faults.failing = true
    broker.faults.release()
    for (const packetId of packetIds)
      expect((await client.expect('puback', (packet) => packet.packetId === packetId)).code).toBe(0x80)
    expect(await retainedOn('rr/#')).toEqual(['rr/a=first', 'rr/gone=first'])
    broker.faults.heal()
    expect(await publish(client, 'rr/a', 'last', true)).toBeLessThan(0x80)
    expect(await retainedOn('rr/#')).toEqual(['rr/a=last', 'rr/gone=first'])
  })
})

describe('a subscription whose commit fails', () => {
  test('is refused with a reason code and is not there [v5 MQTT-3.8.4-6] [v3 MQTT-3.8.4-5]', async () => {
    const versions: Version[] = [4, 5]
    for (const version of versions) {
      const client = await open(kept(`refused-${version}`, version))
      broker.faults.failing = true
      expect((await client.subscribe(['s/x', 1], ['s/y', 0])).codes).toEqual([0x80, 0x80])
      broker.faults.heal()
      const publisher = await open()
      expect(await publish(publisher, 's/x', 'x')).toBe(0x10)
      await client.ping()
      expect(client.takeAll('publish')).toEqual([])
      expect((await client.subscribe(['s/x', 1])).codes).toEqual([1])
      expect(await publish(publisher, 's/x', 'x')).toBe(0)
      await client.receive()
      await client.unsubscribe('s/x')
      await Promise.all([client.disconnect(), publisher.disconnect()])
    }
  })

  test('ends the connection of MQTT 3.1, which has no code for it', async () => {
    const client = await open(kept('refused-3', 3))
    broker.faults.failing = true
    client.subscribe(['s/old', 1]).catch(() => {})
    await client.expectClosed()
  })

  test('leaves the one it was to replace as it was, also after a restart', async () => {
    const client = await open(kept('replaces'))
    await client.subscribe(['s/kept', 1])
    broker.faults.failing = true
    expect((await client.subscribe(['s/kept', 2])).codes).toEqual([0x80])
    broker.faults.heal()
    const publisher = await open()
    const got = async (from: RawClient) => {
      await publisher.publish({ topic: 's/kept', payload: 'x', qos: 2 })
      const packet = await from.receive()
      return packet.qos
    }
    expect(await got(client)).toBe(1)
    await client.disconnect()
    await broker.restart()
    const back = await open(kept('replaces'))
    const again = await open()
    await again.publish({ topic: 's/kept', payload: 'x', qos: 2 })
    expect((await back.receive()).qos).toBe(1)
  })

  test('that was to be removed goes on [v5 MQTT-3.10.4-6]', async () => {
    const client = await open(kept('stays'))
    await client.subscribe(['s/stays', 1])
    broker.faults.failing = true
    expect((await client.unsubscribe('s/stays', 's/unknown')).codes).toEqual([0x80, 0x11])
    broker.faults.heal()
    const publisher = await open()
    expect(await publish(publisher, 's/stays', 'x')).toBe(0)
    expect((await client.receive()).payload.toString()).toBe('x')
  })
})

describe('an inbound Packet Identifier whose commit fails', () => {
  test('is free again: the message is taken when it is sent once more, once [v5 MQTT-4.3.3-10]', async () => {
    const reader = await open(kept('reader'))
    await reader.subscribe(['q2', 2])
    const client = await open(kept('writer'))
    broker.faults.failing = true
    const packetId = client.startPublish({ topic: 'q2', payload: 'refused', qos: 2 })
    expect((await client.expect('pubrec')).code).toBe(0x80)
    broker.faults.heal()
    client.startPublish({ topic: 'q2', payload: 'taken', qos: 2, packetId })
    expect((await client.expect('pubrec')).code).toBe(0)
    client.ack('pubrel', packetId)
    await client.expect('pubcomp')
    expect((await reader.receive()).payload.toString()).toBe('taken')
    await reader.expectNothing(50, 'publish')
  })
})

describe('a session whose commit fails', () => {
  test('was never there: CONNACK says so, and the next one says that none was present', async () => {
    broker.faults.failing = true
    const client = await RawClient.open(broker.mqtt)
    expect((await client.connect(kept('never'))).code).toBe(0x88)
    await client.expectClosed()
    broker.faults.heal()
    await broker.restart()
    const again = await RawClient.open(broker.mqtt)
    expect((await again.connect(kept('never'))).sessionPresent).toBe(false)
  })
})

describe('a will', () => {
  const will = (payload: string) => ({ will: { topic: 'w/t', payload, qos: 1 as const } })

  test('that was withdrawn while the disk refused everything is not published after a restart [v5 MQTT-3.14.4-3]', async () => {
    const watch = await open(kept('w-watch'))
    await watch.subscribe(['w/t', 1])
    const client = await open({ ...kept('w-good'), ...will('must not be heard') })
    broker.faults.failing = true
    await client.disconnect()
    await watch.ping()
    await new Promise((resolve) => setTimeout(resolve, 100))
    broker.faults.heal()
    await new Promise((resolve) => setTimeout(resolve, 1300))
    await broker.restart()
    const back = await open(kept('w-watch'))
    await back.expectNothing(200, 'publish')
  })

  test('that was due while the disk refused everything is published to those who keep it when it takes writes again, once', async () => {
    const watch = await open(kept('w-away'))
    await watch.subscribe(['w/t', 1])
    await watch.disconnect()
    const client = await open({ ...kept('w-lost'), ...will('late') })
    broker.faults.failing = true
    await client.drop()
    await new Promise((resolve) => setTimeout(resolve, 100))
    broker.faults.heal()
    const back = await open(kept('w-away'))
    expect((await back.receive()).payload.toString()).toBe('late')
    await back.expectNothing(1200, 'publish')
    await broker.restart()
    const later = await open(kept('w-away'))
    await later.expectNothing(200, 'publish')
  })

  test('that waits for its delay goes on waiting when the connection that would have cancelled it is refused', async () => {
    const watch = await open(kept('w-delay-watch'))
    await watch.subscribe(['w/t', 1])
    const options = kept('w-delay')
    const delayed = {
      will: { topic: 'w/t', payload: 'after the delay', qos: 1 as const, properties: { willDelayInterval: 2 } },
    }
    const client = await open({ ...options, ...delayed })
    await client.drop()
    await watch.ping()
    broker.faults.failing = true
    const refused = await RawClient.open(broker.mqtt)
    expect((await refused.connect(options)).code).toBe(0x88)
    broker.faults.heal()
    expect((await watch.receive()).payload.toString()).toBe('after the delay')
  })
})
