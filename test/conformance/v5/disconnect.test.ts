/** MQTT 5, sections 3.14, 3.15 and 4.12, 4.13: DISCONNECT, AUTH, errors. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type EmbeddedBroker, embedBroker, startBroker } from '../../support/broker-inline.ts'
import { RawClient } from '../../support/raw-client.ts'
import { encodeRawDisconnect, encodeRawProperties, encodeRawPublish, frame } from '../../support/raw-packets.ts'
import { brokerUnderTest, ending } from '../table/subject.ts'

const subject = brokerUnderTest()

describe('DISCONNECT of the client', () => {
  test('with a reason code of another packet is a Protocol Error [v5 MQTT-3.14.2-1]', async () => {
    for (const code of [0x01, 0x03, 0x10, 0x18, 0x84, 0x91, 0xff])
      expect([0x81, 0x82]).toContain((await subject.provoke(5, encodeRawDisconnect(5, code))).reasonCode)
  })
  test('with a reason code only the server sends is a Protocol Error [v5 MQTT-3.14.2-1]', async () => {
    for (const code of [0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x9c, 0x9d])
      expect(await subject.provoke(5, encodeRawDisconnect(5, code))).toEqual({ reasonCode: 0x82 })
  })
  test('is followed by nothing: what comes after it is not acted upon [v5 MQTT-3.14.4-1] [v5 MQTT-3.14.4-2]', async () => {
    const watcher = await subject.subscriber(5, 'after/#')
    const client = await subject.connect(5)
    client.send(frame(14, 0), encodeRawPublish({ topic: 'after/disconnect' }, 5))
    expect(await ending(client)).toEqual({ reasonCode: null })
    await watcher.ping()
    expect(watcher.takeAll('publish')).toEqual([])
  })
})

describe('DISCONNECT of the broker', () => {
  test('is the last packet, the connection closes, and it has no Session Expiry Interval [v5 MQTT-3.14.2-1] [v5 MQTT-3.14.2-2] [v5 MQTT-3.14.4-1] [v5 MQTT-3.14.4-2] [v5 MQTT-4.13.2-1]', async () => {
    const wrong: [number, Buffer][] = [
      [0x81, frame(0, 0)],
      [0x82, encodeRawPublish({ topic: '' }, 5)],
      [0x90, encodeRawPublish({ topic: '#' }, 5)],
      [0x94, encodeRawPublish({ topic: 'a', properties: { topicAlias: 60_000 } }, 5)],
      [0x95, Buffer.from([0x30, 0xff, 0xff, 0xff, 0x7f])],
    ]
    for (const [reasonCode, bytes] of wrong) {
      const client = await subject.subscriber(5, 'last')
      client.send(bytes, encodeRawPublish({ topic: 'last' }, 5), frame(12, 0))
      const said = await client.expectNext('disconnect')
      expect(said.code).toBe(reasonCode)
      expect(said.properties.sessionExpiryInterval).toBeUndefined()
      await client.expectClosed()
      await client.expectNothing(0)
    }
  })
  test('has a reason string, except for a client that wants none [v5 MQTT-3.1.2-29]', async () => {
    const silent = await subject.connect(5, { properties: { requestProblemInformation: 0 } })
    silent.send(encodeRawPublish({ topic: '' }, 5))
    expect((await silent.expect('disconnect')).properties).toEqual({})
    const told = await subject.connect(5)
    told.send(encodeRawPublish({ topic: '' }, 5))
    expect((await told.expect('disconnect')).properties.reasonString).toMatch(/Topic/)
  })
  test('is 0x8B when the broker stops [v5 MQTT-3.14.2-1]', async () => {
    const broker = await startBroker()
    const client = await RawClient.connected(broker.mqtt, { version: 5 })
    const old = await RawClient.connected(broker.mqtt)
    const stopped = broker.stop()
    expect((await client.expect('disconnect')).code).toBe(0x8b)
    await old.expectClosed()
    await stopped
  })
})

describe('AUTH', () => {
  const auth = (code: number, method = 'unheard-of') =>
    frame(15, 0, Buffer.from([code]), encodeRawProperties({ authenticationMethod: method }))

  test('an Authentication Method that is not served gets 0x8C [v5 MQTT-4.12.0-1] [v5 MQTT-4.12.0-4]', async () => {
    const properties = { authenticationMethod: 'unheard-of', authenticationData: Buffer.from('x') }
    expect(await subject.refused({ version: 5, clientId: 'a', properties })).toEqual({ code: 0x8c })
  })
  test('on a connection without a method is a Protocol Error, and no AUTH comes back [v5 MQTT-4.12.0-7] [v5 MQTT-4.12.0-6]', async () => {
    for (const code of [0x18, 0x19]) {
      const client = await subject.connect(5)
      client.send(auth(code))
      expect(await ending(client)).toEqual({ reasonCode: 0x82 })
      expect(client.takeAll('auth')).toEqual([])
    }
  })
  test('with a reason code that a client may not send ends the connection [v5 MQTT-3.15.2-1]', async () => {
    for (const code of [0x00, 0x01, 0x87])
      expect([0x81, 0x82]).toContain((await subject.provoke(5, auth(code))).reasonCode)
  })
  test('before CONNECT ends the connection without an answer [v5 MQTT-4.12.0-7] [v5 MQTT-3.1.0-1]', async () => {
    expect(await subject.refused(auth(0x18))).toEqual({ code: null })
  })
  test('does not exist in MQTT 3.1.1', async () => {
    await subject.provoke(4, auth(0x18))
  })
})

describe('errors', () => {
  test('of one connection leave others alone [v5 MQTT-4.13.1-1]', async () => {
    const bystander = await subject.subscriber(5, 'bystander')
    await subject.provoke(5, frame(0, 0))
    bystander.startPublish({ topic: 'bystander' })
    await bystander.receive()
  })
})

describe('permission', () => {
  let broker: EmbeddedBroker
  let deny = true
  beforeAll(async () => {
    broker = await embedBroker()
    broker.aedes.authorizePublish = (_client, packet, done) =>
      done(deny && packet.topic.startsWith('forbidden') ? new Error('no permission to publish here') : null)
    broker.aedes.authorizeSubscribe = (_client, subscription, done) =>
      done(null, subscription.topic.startsWith('forbidden') ? null : subscription)
    broker.aedes.authenticate = (_client, userName, _password, done) => done(null, userName !== 'nobody')
  })
  afterAll(() => broker.stop())
  const connect = (options = {}) => RawClient.connected(broker.mqtt, { version: 5, ...options })

  test('denied to connect: a CONNACK of 0x80 or above, Session Present 0, and the end [v5 MQTT-3.1.4-2] [v5 MQTT-3.2.2-6] [v5 MQTT-3.2.2-7] [v5 MQTT-3.2.2-8]', async () => {
    const client = await RawClient.open(broker.mqtt)
    const connack = await client.connect({ version: 5, userName: 'nobody', password: 'x' })
    expect([0x86, 0x87]).toContain(connack.code)
    expect(connack.sessionPresent).toBe(false)
    await client.expectClosed()
  })
  test('denied to publish: a PUBACK or PUBREC says so, with a reason string where it is wanted and fits [v5 MQTT-3.4.2-1] [v5 MQTT-3.4.2-2] [v5 MQTT-3.4.2-3] [v5 MQTT-3.5.2-1] [v5 MQTT-3.5.2-2] [v5 MQTT-3.5.2-3] [v5 MQTT-3.1.2-29]', async () => {
    const cases: [object, boolean][] = [
      [{}, true],
      [{ properties: { requestProblemInformation: 0 } }, false],
      // CONNACK fits, the reason string does not.
      [{ properties: { maximumPacketSize: 25 } }, false],
    ]
    for (const [options, told] of cases) {
      const client = await connect({ clientId: 'd', ...options })
      client.startPublish({ topic: 'forbidden', qos: 1, packetId: 1 })
      const puback = await client.expect('puback')
      client.startPublish({ topic: 'forbidden', qos: 2, packetId: 2 })
      const pubrec = await client.expect('pubrec')
      for (const answer of [puback, pubrec]) {
        expect(answer.code).toBe(0x87)
        expect(answer.properties.reasonString !== undefined).toBe(told)
        expect(answer.properties.userProperty).toBeUndefined()
      }
      client.reset()
    }
  })
  test('after a PUBREC of 0x80 or above the same identifier is a new message [v5 MQTT-4.3.3-9]', async () => {
    const client = await connect()
    await client.subscribe(['forbidden-no-more', 0])
    client.startPublish({ topic: 'forbidden/1', qos: 2, packetId: 5 })
    expect((await client.expect('pubrec')).code).toBe(0x87)
    deny = false
    const watcher = await connect()
    await watcher.subscribe(['+/1', 2])
    client.startPublish({ topic: 'forbidden/1', payload: 'new', qos: 2, packetId: 5 })
    expect((await client.expect('pubrec')).code).toBe(0)
    client.ack('pubrel', 5)
    expect((await client.expect('pubcomp')).code).toBe(0)
    expect((await watcher.receive()).payload.toString()).toBe('new')
    deny = true
    client.reset()
    watcher.reset()
  })
  test('denied to subscribe: the filter has a failure code, the others stand [v5 MQTT-3.8.4-7] [v5 MQTT-3.9.3-2]', async () => {
    const client = await connect()
    const { codes } = await client.subscribe(['free', 1], ['forbidden', 1], ['free/2', 2])
    expect(codes[0]).toBe(1)
    expect([0x80, 0x87]).toContain(codes[1])
    expect(codes[2]).toBe(2)
    client.reset()
  })
})
