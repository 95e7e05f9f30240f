/** MQTT 5, sections 3.1 and 3.2: CONNECT and CONNACK. */
import { describe, expect, test } from 'vitest'
import {
  encodeRawConnect,
  encodeRawPublish,
  encodeRawSubscribe,
  field,
  frame,
  pingreq,
  u16,
} from '../../support/raw-packets.ts'
import { brokerUnderTest, ending, persistent } from '../table/subject.ts'

const subject = brokerUnderTest({ limits: { keepAliveSecondsMax: 60 } })

const noProperties = Buffer.from([0])
const connect = (level: number, flags: number, ...payload: Buffer[]): Buffer =>
  frame(1, 0, field('MQTT'), Buffer.from([level, flags]), u16(0), noProperties, ...payload)

describe('order of packets', () => {
  test('anything before CONNECT ends the connection without an answer [v5 MQTT-3.1.0-1] [v5 MQTT-3.14.0-1]', async () => {
    expect(await subject.refused(pingreq)).toEqual({ code: null })
    expect(await subject.refused(encodeRawPublish({ topic: 'a' }, 5))).toEqual({ code: null })
    expect(await subject.refused(frame(15, 0, Buffer.from([0x18, 0])))).toEqual({ code: null })
    expect(await subject.refused(frame(14, 0))).toEqual({ code: null })
  })
  test('a second CONNECT is a Protocol Error [v5 MQTT-3.1.0-2] [v5 MQTT-3.2.0-2]', async () => {
    const client = await subject.connect(5)
    client.send(encodeRawConnect({ version: 5, clientId: 'second' }))
    expect(await ending(client)).toEqual({ reasonCode: 0x82 })
    expect(client.takeAll('connack')).toEqual([])
  })
  test('CONNACK is the first packet, and the only one of its kind [v5 MQTT-3.2.0-1] [v5 MQTT-3.2.0-2] [v5 MQTT-3.1.4-5]', async () => {
    await subject.leaveSession(5, 'first', ['first/#', 1])
    const publisher = await subject.connect(5)
    await publisher.publish({ topic: 'first/waiting', qos: 1 })
    const client = await subject.dial()
    const answer = client.connect({ version: 5, ...persistent(5, 'first') })
    client.send(encodeRawSubscribe(9, [{ topicFilter: 'first/+' }], 5), pingreq)
    expect(await answer).toMatchObject({ code: 0, sessionPresent: true })
    await client.expect('publish')
    await client.expect('pingresp')
    expect(client.takeAll('connack')).toEqual([])
  })
  test('what follows a refused CONNECT is not acted upon [v5 MQTT-3.1.4-6]', async () => {
    const watcher = await subject.subscriber(5, 'refused/#')
    const client = await subject.dial()
    client.send(
      encodeRawConnect({ version: 5, clientId: 'r', properties: { receiveMaximum: 0 } }),
      encodeRawPublish({ topic: 'refused/qos0' }, 5),
      encodeRawPublish({ topic: 'refused/qos1', qos: 1, packetId: 1, retain: true }, 5),
    )
    await client.expect('connack', ({ code }) => code === 0x82)
    await client.expectClosed()
    await client.expectNothing(0)
    const later = await subject.subscriber(5, 'refused/#')
    for (const each of [watcher, later]) {
      await each.ping()
      expect(each.takeAll('publish')).toEqual([])
    }
  })
})

describe('form', () => {
  test('another Protocol Name is not served [v5 MQTT-3.1.2-1]', async () => {
    for (const name of ['MQTX', 'mqtt', '']) {
      const bytes = frame(1, 0, field(name), Buffer.from([5, 2]), u16(0), noProperties, field('c'))
      expect(await subject.refused(bytes)).toEqual({ code: null })
    }
  })
  test('a version that is not served gets 0x84, Session Present 0, and the end [v5 MQTT-3.1.2-2] [v5 MQTT-3.2.2-6] [v5 MQTT-3.2.2-7] [v5 MQTT-3.2.2-8]', async () => {
    for (const level of [6, 7, 100]) {
      const client = await subject.dial()
      client.send(connect(level, 2, field('c')))
      expect(await client.expect('connack')).toMatchObject({ code: 0x84, sessionPresent: false })
      await client.expectClosed()
    }
  })
  test('the reserved Connect Flag is malformed [v5 MQTT-3.1.2-3]', async () => {
    expect(await subject.refused(connect(5, 3, field('c')))).toEqual({ code: 0x81 })
  })
  test('Will QoS or Will Retain without Will Flag is malformed [v5 MQTT-3.1.2-11] [v5 MQTT-3.1.2-13] [v5 MQTT-3.1.4-1]', async () => {
    for (const flags of [0x0a, 0x12, 0x22, 0x3a])
      expect(await subject.refused(connect(5, flags, field('c')))).toEqual({ code: 0x81 })
  })
  test('Will QoS 3 is malformed [v5 MQTT-3.1.2-12]', async () => {
    const will = [noProperties, field('w'), field('x')]
    expect(await subject.refused(connect(5, 0x1e, field('c'), ...will))).toEqual({ code: 0x81 })
  })
  test('Will Flag without a will in the payload is malformed [v5 MQTT-3.1.2-9]', async () => {
    expect(await subject.refused(connect(5, 6, field('c')))).toEqual({ code: 0x81 })
    expect(await subject.refused(connect(5, 6, field('c'), noProperties, field('w')))).toEqual({ code: 0x81 })
  })
  test('a user name or password that the flags do not announce is malformed [v5 MQTT-3.1.2-16] [v5 MQTT-3.1.2-18]', async () => {
    expect(await subject.refused(connect(5, 2, field('c'), field('u')))).toEqual({ code: 0x81 })
    expect(await subject.refused(connect(5, 0x82, field('c'), field('u'), field('p')))).toEqual({ code: 0x81 })
  })
  test('flags that announce a missing user name or password are malformed [v5 MQTT-3.1.2-17] [v5 MQTT-3.1.2-19]', async () => {
    expect(await subject.refused(connect(5, 0x82, field('c')))).toEqual({ code: 0x81 })
    expect(await subject.refused(connect(5, 0xc2, field('c'), field('u')))).toEqual({ code: 0x81 })
    expect(await subject.refused(connect(5, 0x42, field('c')))).toEqual({ code: 0x81 })
  })
  test('a password without a user name is allowed [v5 MQTT-3.1.2-19]', async () => {
    await subject.connect(5, { password: 'alone' })
  })
  test('a CONNECT cut short or too long ends the connection [v5 MQTT-3.1.4-1] [v5 MQTT-3.1.3-1] [v5 MQTT-3.1.3-3]', async () => {
    expect(await subject.refused(frame(1, 0))).toEqual({ code: null })
    expect(await subject.refused(connect(5, 2))).toEqual({ code: 0x81 })
    expect(await subject.refused({ version: 5, clientId: 'c', trailing: Buffer.from([0]) })).toEqual({ code: 0x81 })
  })
  test('no DISCONNECT comes in place of a CONNACK [v5 MQTT-3.14.0-1] [v5 MQTT-4.13.2-1]', async () => {
    const client = await subject.dial()
    client.send(connect(5, 3, field('c')))
    await client.expectClosed()
    expect(client.takeAll('disconnect')).toEqual([])
    expect(client.takeAll('connack').length).toBe(1)
  })
})

describe('Client Identifier', () => {
  test('1 to 23 letters and digits are accepted, and longer ones [v5 MQTT-3.1.3-5]', async () => {
    const letters = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'
    for (const clientId of ['a', letters.slice(0, 23), letters.slice(23, 46), letters.slice(39), letters])
      await subject.connect(5, { clientId })
  })
  test('an empty one is assigned, told, unique and used [v5 MQTT-3.1.3-6] [v5 MQTT-3.1.3-7] [v5 MQTT-3.2.2-16]', async () => {
    const assigned = new Set<unknown>()
    for (const clean of [true, false]) {
      for (let n = 0; n < 5; n++) {
        const client = await subject.dial()
        const { properties } = await client.connect({ version: 5, clean, properties: { sessionExpiryInterval: 60 } })
        assigned.add(properties.assignedClientIdentifier)
      }
    }
    expect(assigned.size).toBe(10)
    expect(assigned).not.toContain(undefined)
    const [one] = assigned
    const again = await subject.dial()
    const connack = await again.connect({ version: 5, clientId: one as string, clean: false })
    expect(connack.sessionPresent).toBe(true)
    expect(connack.properties.assignedClientIdentifier).toBeUndefined()
  })
  test('one in use: its connection gets DISCONNECT 0x8E and is closed [v5 MQTT-3.1.4-3] [v5 MQTT-3.1.3-2]', async () => {
    const older = await subject.connect(5, { clientId: 'twice' })
    const newer = await subject.connect(5, { clientId: 'twice' })
    expect(await ending(older)).toEqual({ reasonCode: 0x8e })
    await newer.ping()
  })
  test('one in use by MQTT 3.1.1: its connection is closed without a word [v5 MQTT-3.1.4-3]', async () => {
    const older = await subject.connect(4, { clientId: 'twice-3' })
    await subject.connect(5, { clientId: 'twice-3' })
    await older.expectClosed()
    await older.expectNothing(0)
  })
})

describe('CONNACK', () => {
  const answer = async (options: Parameters<typeof subject.connect>[1]) => {
    const client = await subject.dial()
    const connack = await client.connect({ version: 5, ...options })
    await client.disconnect()
    return connack
  }
  test('Session Present is 0 without a session [v5 MQTT-3.2.2-3] [v5 MQTT-3.1.2-6]', async () => {
    expect(await answer({ clientId: 'sp-new', clean: false })).toMatchObject({ code: 0, sessionPresent: false })
  })
  test('Session Present is 1 with a session [v5 MQTT-3.2.2-3] [v5 MQTT-3.1.2-5] [v5 MQTT-3.1.3-2]', async () => {
    await subject.leaveSession(5, 'sp-old')
    expect(await answer({ clientId: 'sp-old', clean: false })).toMatchObject({ code: 0, sessionPresent: true })
  })
  test('Session Present is 0 with Clean Start, and what there was is gone [v5 MQTT-3.2.2-2] [v5 MQTT-3.1.2-4] [v5 MQTT-3.1.4-4]', async () => {
    await subject.leaveSession(5, 'sp-clean', ['sp/clean', 1])
    expect(await answer({ clientId: 'sp-clean', clean: true })).toMatchObject({ code: 0, sessionPresent: false })
    expect(await answer({ clientId: 'sp-clean', clean: false })).toMatchObject({ code: 0, sessionPresent: false })
  })
  test('its flags have no other bit [v5 MQTT-3.2.2-1]', async () => {
    // The raw client refuses flags above 1.
    await subject.leaveSession(5, 'bits')
    await answer({ clientId: 'bits', clean: false })
    await answer({ clientId: 'bits', clean: true })
  })
  test('has Response Information only for those who ask [v5 MQTT-3.1.2-28]', async () => {
    expect((await answer({})).properties.responseInformation).toBeUndefined()
    const no = await answer({ properties: { requestResponseInformation: 0 } })
    expect(no.properties.responseInformation).toBeUndefined()
    const yes = await answer({ clientId: 'asks', properties: { requestResponseInformation: 1 } })
    expect(yes.properties.responseInformation).toBe('responses/asks')
  })
  test('has no Authentication Method when CONNECT had none [v5 MQTT-4.12.0-6]', async () => {
    expect((await answer({})).properties.authenticationMethod).toBeUndefined()
  })
  test('announces neither a Maximum QoS nor missing retained messages: all is served [v5 MQTT-3.2.2-9] [v5 MQTT-3.2.2-10] [v5 MQTT-3.2.2-12] [v5 MQTT-3.2.2-13]', async () => {
    const { properties } = await answer({})
    expect(properties.maximumQos).toBeUndefined()
    for (const name of ['retainAvailable', 'wildcardSubscriptionAvailable', 'subscriptionIdentifierAvailable'])
      expect(properties[name] ?? 1).toBe(1)
    expect(properties.sharedSubscriptionAvailable ?? 1).toBe(1)
    const client = await subject.connect(5, { will: { topic: 'all/will', qos: 2, retain: true } })
    expect((await client.subscribe(['all/0', 0], ['all/1', 1], ['all/2', 2])).codes).toEqual([0, 1, 2])
    await client.publish({ topic: 'all/2', qos: 2, retain: true })
    await client.receive()
  })
  test('tells a shorter Session Expiry Interval where the broker caps it, and only there [v5 MQTT-3.1.2-23]', async () => {
    const capped = await answer({ clientId: 'cap', properties: { sessionExpiryInterval: 0xffffffff } })
    expect(capped.properties.sessionExpiryInterval).toBe(604_800)
    const kept = await answer({ clientId: 'cap', properties: { sessionExpiryInterval: 60 } })
    expect(kept.properties.sessionExpiryInterval).toBeUndefined()
  })
  test('tells a Server Keep Alive where the broker caps it, and only there [v5 MQTT-3.2.2-22]', async () => {
    expect((await answer({ keepAliveSeconds: 0 })).properties.serverKeepAlive).toBe(60)
    expect((await answer({ keepAliveSeconds: 61 })).properties.serverKeepAlive).toBe(60)
    expect((await answer({ keepAliveSeconds: 60 })).properties.serverKeepAlive).toBeUndefined()
    expect((await answer({ keepAliveSeconds: 5 })).properties.serverKeepAlive).toBeUndefined()
  })
  test('carries the limits of the broker', async () => {
    const { properties } = await answer({})
    expect(properties).toMatchObject({ receiveMaximum: 1024, maximumPacketSize: 1_048_576, topicAliasMaximum: 32 })
  })
})

test('silence of one and a half Keep Alives ends the connection with 0x8D and publishes the will [v5 MQTT-3.1.2-22] [v5 MQTT-3.1.2-8] [v5 MQTT-3.2.2-22]', async () => {
  const watcher = await subject.subscriber(5, 'silent/will')
  const started = performance.now()
  const client = await subject.connect(5, { keepAliveSeconds: 1, will: { topic: 'silent/will' } })
  expect(await ending(client)).toEqual({ reasonCode: 0x8d })
  const silentMs = performance.now() - started
  expect(silentMs).toBeGreaterThan(1_450)
  expect(silentMs).toBeLessThan(3_000)
  await watcher.receive()
})
