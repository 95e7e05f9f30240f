/** `broker.persistence` of a running broker: it shows and changes what the clients use. */
import type { Readable } from 'node:stream'
import { describe, expect, test } from 'vitest'
import type { Persistence } from '../../src/aedes/persistence.ts'
import { type Embedded, embed, next, temporaryDir } from './embedded.ts'

const persistenceOf = ({ broker }: Embedded): Persistence =>
  (broker as unknown as { persistence: Persistence }).persistence
const all = async (stream: Readable): Promise<Record<string, unknown>[]> => stream.toArray()
const packet = (topic: string, payload: string, qos: 0 | 1 | 2 = 1) => ({ topic, payload: Buffer.from(payload), qos })

describe('retained messages', () => {
  test('one stored by the program is sent to the next subscriber, and can be taken back', async () => {
    const embedded = await embed()
    const persistence = persistenceOf(embedded)
    await persistence.storeRetained({ ...packet('lamp/1', 'on'), retain: true })
    const client = await embedded.join()
    await client.subscribe(['lamp/+', 1])
    expect(await client.receive()).toMatchObject({ topic: 'lamp/1', retain: true, qos: 1 })
    await persistence.storeRetained({ topic: 'lamp/1', payload: Buffer.alloc(0), retain: true })
    await client.subscribe(['lamp/1', 1])
    await client.expectNothing(50, 'publish')
  })

  test('those of clients are streamed; a filter with a leading wildcard does not find $ topics [v3 MQTT-4.7.2-1]', async () => {
    const embedded = await embed()
    const client = await embedded.join({ clientId: 'sensor' })
    await client.publish({ topic: 'a/b', payload: 'x', qos: 1, retain: true })
    await client.publish({ topic: '$own/c', payload: 'y', qos: 1, retain: true })
    const found = await all(persistenceOf(embedded).createRetainedStreamCombi(['#', 'a/+']))
    expect(found.map(({ topic }) => topic)).toEqual(['a/b', 'a/b'])
    expect(found[0]).toMatchObject({ cmd: 'publish', qos: 1, retain: true, clientId: 'sensor' })
  })
})

describe('subscriptions', () => {
  test('one added by the program delivers to the connected client, and no more when it is removed', async () => {
    const embedded = await embed()
    const persistence = persistenceOf(embedded)
    const client = await embedded.join({ clientId: 'device', clean: false })
    await persistence.addSubscriptions({ id: 'device' }, [{ topic: 'for/device', qos: 1 }])
    expect(await persistence.subscriptionsByClient({ id: 'device' })).toMatchObject([{ topic: 'for/device', qos: 1 }])
    await client.publish({ topic: 'for/device', payload: '1', qos: 1 })
    await client.receive()
    await persistence.removeSubscriptions({ id: 'device' }, ['for/device'])
    await client.publish({ topic: 'for/device', payload: '2', qos: 1 })
    await client.expectNothing(50, 'publish')
  })

  test('one added for a client that never connected keeps messages for it', async () => {
    const embedded = await embed()
    await persistenceOf(embedded).addSubscriptions({ id: 'later' }, [{ topic: 'news', qos: 1 }])
    const publisher = await embedded.join()
    await publisher.publish({ topic: 'news', payload: 'kept', qos: 1 })
    const client = await embedded.open()
    expect(await client.connect({ clientId: 'later', clean: false })).toMatchObject({ sessionPresent: true })
    expect((await client.receive()).payload.toString()).toBe('kept')
  })

  test('those of QoS 1 and 2 of persistent sessions are found by topic; shared ones are nobody in particular', async () => {
    const embedded = await embed()
    const persistent = await embedded.join({ clientId: 'p', clean: false })
    await persistent.subscribe(['x/#', 1], ['x/y', 2], ['x/+', 0], ['$share/g/x/y', 1])
    const clean = await embedded.join({ clientId: 'c' })
    await clean.subscribe(['x/y', 1])
    const persistence = persistenceOf(embedded)
    expect(await persistence.subscriptionsByTopic('x/y')).toMatchObject([
      { clientId: 'p', topic: 'x/#', qos: 1 },
      { clientId: 'p', topic: 'x/y', qos: 2 },
    ])
    expect(await persistence.countOffline()).toEqual({ subsCount: 3, clientsCount: 1 })
    expect(await all(persistence.getClientList('x/y'))).toEqual(['p'])
    expect(await persistence.subscriptionsByClient({ id: 'c' })).toEqual([])
  })

  test('a wrong Topic Filter is refused and none of the call is added', async () => {
    const embedded = await embed()
    const persistence = persistenceOf(embedded)
    const added = persistence.addSubscriptions({ id: 'd' }, [
      { topic: 'ok', qos: 1 },
      { topic: 'a#', qos: 1 },
    ])
    await expect(added).rejects.toMatchObject({ code: 'topic_filter_invalid' })
    expect(await persistence.subscriptionsByClient({ id: 'd' })).toEqual([])
  })
})

describe('what waits for clients', () => {
  test('a message enqueued goes to the connected client at once, with the identifier that is shown', async () => {
    const embedded = await embed()
    const persistence = persistenceOf(embedded)
    const client = await embedded.join({ clientId: 'd', clean: false })
    await persistence.outgoingEnqueue({ clientId: 'd', qos: 1 }, packet('to/d', 'hello'))
    const received = await client.expect('publish')
    expect(received).toMatchObject({ topic: 'to/d', qos: 1 })
    const [waiting] = await all(persistence.outgoingStream({ id: 'd' }))
    expect(waiting).toMatchObject({ cmd: 'publish', topic: 'to/d', messageId: received.packetId })
    client.ack('puback', received.packetId)
    await client.ping()
    expect(await all(persistence.outgoingStream({ id: 'd' }))).toEqual([])
  })

  test('what is cleared is not sent', async () => {
    const embedded = await embed()
    const persistence = persistenceOf(embedded)
    const subscriptions = [{ clientId: 'd', qos: 1 }]
    await persistence.outgoingEnqueueCombi(subscriptions, packet('t', 'first'))
    await persistence.outgoingEnqueueCombi(subscriptions, packet('t', 'second'))
    const [first] = await all(persistence.outgoingStream({ id: 'd' }))
    const cleared = await persistence.outgoingClearMessageId({ id: 'd' }, first as { messageId: number })
    expect(cleared).toMatchObject({ payload: Buffer.from('first') })
    expect(await persistence.outgoingClearMessageId({ id: 'd' }, {})).toBeUndefined()
    const client = await embedded.join({ clientId: 'd', clean: false })
    expect((await client.receive()).payload.toString()).toBe('second')
  })

  test('PUBREL noted for a message is what the client gets instead of the message', async () => {
    const embedded = await embed()
    const persistence = persistenceOf(embedded)
    await persistence.outgoingEnqueue({ clientId: 'd', qos: 2 }, packet('t', 'x', 2))
    const [waiting] = await all(persistence.outgoingStream({ id: 'd' }))
    const { messageId } = waiting as { messageId: number }
    await persistence.outgoingUpdate({ id: 'd' }, { cmd: 'pubrel', messageId })
    expect(await all(persistence.outgoingStream({ id: 'd' }))).toEqual([{ cmd: 'pubrel', messageId }])
    await expect(persistence.outgoingUpdate({ id: 'd' }, { cmd: 'pubrel', messageId: messageId + 1 })).rejects.toThrow(
      'no such packet',
    )
    const client = await embedded.join({ clientId: 'd', clean: false })
    expect(await client.expect('pubrel')).toMatchObject({ packetId: messageId })
  })

  test('limits.sessionQueuedMessagesMax holds', async () => {
    const embedded = await embed({ config: { limits: { sessionQueuedMessagesMax: 1 } } })
    const persistence = persistenceOf(embedded)
    await persistence.outgoingEnqueue({ clientId: 'd' }, packet('t', '1'))
    await expect(persistence.outgoingEnqueue({ clientId: 'd' }, packet('t', '2'))).rejects.toMatchObject({
      code: 'quota_exceeded',
    })
  })
})

describe('QoS 2 messages of clients', () => {
  test('the identifier of a half-done exchange is there until PUBREL, or until the program deletes it', async () => {
    const embedded = await embed()
    const persistence = persistenceOf(embedded)
    const client = await embedded.join({ clientId: 'd' })
    client.startPublish({ topic: 't', qos: 2, packetId: 5 })
    await client.expect('pubrec')
    expect(await persistence.incomingGetPacket({ id: 'd' }, { messageId: 5 })).toMatchObject({ messageId: 5 })
    client.ack('pubrel', 5)
    await client.expect('pubcomp')
    await expect(persistence.incomingGetPacket({ id: 'd' }, { messageId: 5 })).rejects.toThrow('no such packet')
    await expect(persistence.incomingDelPacket({ id: 'd' }, { messageId: 5 })).rejects.toThrow('no such packet')
  })

  test('one stored by the program counts: the client that sends it is not heard twice [v3 MQTT-4.3.3-2]', async () => {
    const embedded = await embed()
    const client = await embedded.join({ clientId: 'd', clean: false })
    await client.subscribe(['t', 0])
    await persistenceOf(embedded).incomingStorePacket({ id: 'd' }, { ...packet('t', 'x', 2), messageId: 9 })
    client.startPublish({ topic: 't', qos: 2, packetId: 9, dup: true })
    await client.expect('pubrec')
    await client.expectNothing(50, 'publish')
    await persistenceOf(embedded).cleanIncoming({ id: 'd' })
    client.startPublish({ topic: 't', qos: 2, packetId: 9 })
    await client.expect('pubrec')
    await client.expect('publish')
  })
})

describe('wills', () => {
  const will = { topic: 'gone/d', payload: Buffer.from('bye'), qos: 1 as const, retain: false }

  test('one put by the program is published when the connection is lost; one deleted is not', async () => {
    const embedded = await embed()
    const persistence = persistenceOf(embedded)
    const watcher = await embedded.join()
    await watcher.subscribe(['gone/#', 1])
    const lost = await embedded.join({ clientId: 'd' })
    const kept = await embedded.join({ clientId: 'e', will: { topic: 'gone/e' } })
    await persistence.putWill({ id: 'd' }, { ...will })
    expect(await persistence.getWill({ id: 'd' })).toMatchObject({
      ...will,
      clientId: 'd',
      brokerId: embedded.broker.id,
    })
    expect(await persistence.delWill({ id: 'e' })).toMatchObject({ topic: 'gone/e', clientId: 'e' })
    const disconnected = [next(embedded.broker, 'clientDisconnect'), lost.drop(), kept.drop()]
    await Promise.all(disconnected)
    expect((await watcher.receive()).topic).toBe('gone/d')
    await watcher.expectNothing(50, 'publish')
    expect(await persistence.getWill({ id: 'd' })).toBeUndefined()
  })

  test('all are streamed but those of brokers that are alive', async () => {
    const embedded = await embed()
    const persistence = persistenceOf(embedded)
    await embedded.join({ clientId: 'e', will: { topic: 'gone/e' } })
    expect(await all(persistence.streamWill())).toMatchObject([{ topic: 'gone/e', clientId: 'e' }])
    expect(await all(persistence.streamWill({ [embedded.broker.id]: Date.now() }))).toEqual([])
  })
})

test('what was changed through it is there after a restart', async () => {
  const dataDir = await temporaryDir()
  const first = await embed({ config: { dataDir } })
  const before = persistenceOf(first)
  await before.storeRetained({ ...packet('r', '1'), retain: true })
  await before.addSubscriptions({ id: 'd' }, [{ topic: 's', qos: 2, rh: 2, nl: true, subscriptionIdentifier: 7 }])
  await before.outgoingEnqueue({ clientId: 'd' }, packet('t', 'x'))
  await first.stop()
  const after = persistenceOf(await embed({ config: { dataDir } }))
  expect(await all(after.createRetainedStream('r'))).toMatchObject([{ topic: 'r' }])
  expect(await after.subscriptionsByClient({ id: 'd' })).toEqual([
    { topic: 's', qos: 2, rh: 2, rap: false, nl: true, subscriptionIdentifier: 7 },
  ])
  expect(await all(after.outgoingStream({ id: 'd' }))).toMatchObject([{ topic: 't' }])
})
