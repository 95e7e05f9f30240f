/** Clients of MQTT 3.1.1 and 5 on one broker: messages, wills, retained messages and sessions go across. */
import { expect, test } from 'vitest'
import { brokerUnderTest, persistent } from '../table/subject.ts'

const subject = brokerUnderTest({ store: 'lmdb' })

const properties = {
  payloadFormatIndicator: 1,
  contentType: 'text/plain',
  userProperty: [
    ['b', '1'],
    ['a', '2'],
  ] as [string, string][],
}

test('a message of 3.1.1 reaches 5 without properties, at each QoS', async () => {
  const subscriber = await subject.subscriber(5, 'up', 2)
  const publisher = await subject.connect(4)
  for (const qos of [0, 1, 2]) {
    await publisher.publish({ topic: 'up', payload: String(qos), qos })
    expect(await subscriber.receive()).toMatchObject({ qos, payload: Buffer.from(String(qos)), properties: {} })
  }
})
test('a message of 5 reaches 3.1.1 and 3.1 without its properties, at each QoS', async () => {
  const old = await subject.subscriber(4, 'down', 2)
  const older = await subject.connect(3, { clientId: 'older' })
  await older.subscribe(['down', 2])
  const publisher = await subject.connect(5)
  for (const qos of [0, 1, 2]) {
    await publisher.publish({ topic: 'down', payload: String(qos), qos, properties })
    for (const client of [old, older])
      expect(await client.receive()).toMatchObject({ qos, payload: Buffer.from(String(qos)) })
  }
})
test('both get a message whose first receivers speak the other version', async () => {
  const clients = [await subject.subscriber(4, 'both', 1), await subject.subscriber(5, 'both', 1)]
  clients.push(await subject.subscriber(4, 'both', 0), await subject.subscriber(5, '+', 0))
  for (const version of [4, 5] as const) {
    const publisher = await subject.connect(version)
    await publisher.publish({ topic: 'both', payload: 'x', qos: 1, ...(version === 5 ? { properties } : {}) })
    for (const client of clients) {
      const got = await client.receive()
      expect(got.payload.toString()).toBe('x')
      expect(got.properties).toEqual(version === 5 && client.version === 5 ? properties : {})
    }
  }
})
test('retained messages go across, with their properties to those who can read them', async () => {
  const five = await subject.connect(5)
  await five.publish({ topic: 'kept/5', payload: 'five', qos: 1, retain: true, properties })
  const four = await subject.connect(4)
  await four.publish({ topic: 'kept/4', payload: 'four', qos: 1, retain: true })
  await four.subscribe(['kept/5', 1])
  expect(await four.receive()).toMatchObject({ payload: Buffer.from('five'), retain: true })
  await five.subscribe(['kept/#', 1])
  const got = [await five.receive(), await five.receive()].sort((a, b) => a.topic.localeCompare(b.topic))
  expect(got.map((packet) => packet.properties)).toEqual([{}, properties])
})
test('wills go across', async () => {
  const watcher4 = await subject.subscriber(4, 'will/+', 1)
  const watcher5 = await subject.subscriber(5, 'will/+', 1)
  const five = await subject.connect(5, { will: { topic: 'will/5', payload: 'x', qos: 1, properties } })
  five.reset()
  expect((await watcher4.receive()).topic).toBe('will/5')
  expect((await watcher5.receive()).properties).toEqual(properties)
  const four = await subject.connect(4, { will: { topic: 'will/4', payload: 'x', qos: 1 } })
  four.reset()
  expect((await watcher4.receive()).topic).toBe('will/4')
  expect((await watcher5.receive()).properties).toEqual({})
})
for (const [from, to] of [
  [4, 5],
  [5, 4],
  [3, 5],
  [5, 3],
] as const) {
  test(`a session of level ${from} is resumed with level ${to}: subscriptions, messages, exchanges`, async () => {
    const clientId = `resume-${from}-${to}`
    const topic = `resume/${from}/${to}`
    const first = await subject.connect(from, persistent(from, clientId))
    await first.subscribe([topic, 2])
    const publisher = await subject.connect(5)
    await publisher.publish({ topic, payload: 'open', qos: 2, properties })
    await publisher.publish({ topic, payload: 'unacknowledged', qos: 1, properties })
    const [one, two] = await first.expectPublishes(2)
    first.ack('pubrec', one!.packetId)
    await first.expect('pubrel')
    first.startPublish({ topic: 'elsewhere', qos: 2, packetId: 9 })
    await first.expect('pubrec')
    await first.drop()
    await publisher.publish({ topic, payload: 'away', qos: 1, properties })
    const second = await subject.dial()
    const connack = await second.connect({ version: to, ...persistent(to, clientId) })
    if (to !== 3) expect(connack.sessionPresent).toBe(true)
    expect((await second.expect('pubrel')).packetId).toBe(one!.packetId)
    second.ack('pubcomp', one!.packetId)
    const again = await second.receive()
    expect(again).toMatchObject({ packetId: two!.packetId, dup: true, payload: Buffer.from('unacknowledged') })
    expect(again.properties).toEqual(to === 5 ? properties : {})
    expect((await second.receive()).payload.toString()).toBe('away')
    second.ack('pubrel', 9)
    expect((await second.expect('pubcomp')).code).toBe(0)
    await publisher.publish({ topic, payload: 'live', qos: 0, properties })
    expect((await second.receive()).payload.toString()).toBe('live')
  })
}
test('a session of 3.1.1 resumed by 5 without an expiry ends with the connection', async () => {
  await subject.leaveSession(4, 'shortened', ['shortened', 1])
  const client = await subject.dial()
  expect((await client.connect({ version: 5, clientId: 'shortened', clean: false })).sessionPresent).toBe(true)
  await client.disconnect()
  const again = await subject.dial()
  expect((await again.connect({ version: 4, clientId: 'shortened', clean: false })).sessionPresent).toBe(false)
})
