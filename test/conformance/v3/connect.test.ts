/** MQTT 3.1.1, sections 3.1 and 3.2: CONNECT and CONNACK. */
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
import { brokerUnderTest, persistent } from '../table/subject.ts'

const subject = brokerUnderTest()

/** A CONNECT from its parts. */
const connect = (name: string, level: number, flags: number, ...payload: Buffer[]): Buffer =>
  frame(1, 0, field(name), Buffer.from([level, flags]), u16(0), ...payload)

describe('order of packets', () => {
  test('anything before CONNECT ends the connection without an answer [v3 MQTT-3.1.0-1]', async () => {
    expect(await subject.refused(pingreq)).toEqual({ code: null })
    expect(await subject.refused(encodeRawPublish({ topic: 'a' }))).toEqual({ code: null })
    expect(await subject.refused(encodeRawSubscribe(1, [{ topicFilter: 'a' }]))).toEqual({ code: null })
  })
  test('a second CONNECT ends the connection [v3 MQTT-3.1.0-2] [v3 MQTT-4.8.0-1]', async () => {
    await subject.provoke(4, encodeRawConnect({ clientId: 'second' }))
  })
  test('a second CONNECT publishes the will, as any violation does [v3 MQTT-3.1.0-2] [v3 MQTT-3.1.2-8]', async () => {
    const watcher = await subject.subscriber(4, 'second/will')
    const client = await subject.connect(4, { will: { topic: 'second/will', payload: 'x' } })
    client.send(encodeRawConnect({ clientId: 'second-2' }))
    await watcher.receive()
  })
  test('CONNACK is the first packet, also when packets follow CONNECT at once [v3 MQTT-3.2.0-1]', async () => {
    await subject.leaveSession(4, 'first', ['first/#', 1])
    const publisher = await subject.connect(4)
    await publisher.publish({ topic: 'first/waiting', qos: 1 })
    const client = await subject.dial()
    client.send(
      encodeRawConnect({ clientId: 'first', clean: false }),
      encodeRawSubscribe(9, [{ topicFilter: 'first/+' }]),
      pingreq,
    )
    expect((await client.expectNext('connack')).sessionPresent).toBe(true)
    await client.expect('publish')
    await client.expect('suback')
    await client.expect('pingresp')
  })
  test('what follows a refused CONNECT is not acted upon [v3 MQTT-3.1.4-5]', async () => {
    const watcher = await subject.subscriber(4, 'refused/#')
    const client = await subject.dial()
    client.send(
      encodeRawConnect({ clientId: '', clean: false }),
      encodeRawPublish({ topic: 'refused/qos0' }),
      encodeRawPublish({ topic: 'refused/qos1', qos: 1, packetId: 1, retain: true }),
    )
    await client.expect('connack', ({ code }) => code === 2)
    await client.expectClosed()
    await client.expectNothing(0)
    await watcher.ping()
    expect(watcher.takeAll('publish')).toEqual([])
    const later = await subject.subscriber(4, 'refused/#')
    await later.ping()
    expect(later.takeAll('publish')).toEqual([])
  })
})

describe('form', () => {
  test('another Protocol Name is not served [v3 MQTT-3.1.2-1]', async () => {
    expect(await subject.refused(connect('MQTX', 4, 2, field('c')))).toEqual({ code: null })
    expect(await subject.refused(connect('mqtt', 4, 2, field('c')))).toEqual({ code: null })
    expect(await subject.refused(connect('HTTP', 4, 2, field('c')))).toEqual({ code: null })
  })
  test('an unknown Protocol Level gets return code 1 [v3 MQTT-3.1.2-2] [v3 MQTT-3.2.2-4] [v3 MQTT-3.2.2-5]', async () => {
    for (const level of [0, 1, 2, 3]) {
      const client = await subject.dial()
      client.send(connect('MQTT', level, 2, field('c')))
      expect(await client.expect('connack')).toMatchObject({ code: 1, sessionPresent: false })
      await client.expectClosed()
    }
  })
  test('the reserved Connect Flag ends the connection [v3 MQTT-3.1.2-3]', async () => {
    expect(await subject.refused(connect('MQTT', 4, 3, field('c')))).toEqual({ code: null })
  })
  test('Will QoS or Will Retain without Will Flag ends the connection [v3 MQTT-3.1.2-11] [v3 MQTT-3.1.2-13] [v3 MQTT-3.1.2-15] [v3 MQTT-3.1.4-1]', async () => {
    for (const flags of [0x0a, 0x12, 0x22, 0x3a])
      expect(await subject.refused(connect('MQTT', 4, flags, field('c')))).toEqual({ code: null })
  })
  test('a will in the payload without Will Flag ends the connection [v3 MQTT-3.1.2-11]', async () => {
    expect(await subject.refused(connect('MQTT', 4, 2, field('c'), field('w'), field('x')))).toEqual({ code: null })
  })
  test('Will Flag without a will in the payload ends the connection [v3 MQTT-3.1.2-9]', async () => {
    expect(await subject.refused(connect('MQTT', 4, 6, field('c')))).toEqual({ code: null })
    expect(await subject.refused(connect('MQTT', 4, 6, field('c'), field('w')))).toEqual({ code: null })
  })
  test('Will QoS 3 ends the connection [v3 MQTT-3.1.2-14]', async () => {
    expect(await subject.refused(connect('MQTT', 4, 0x1e, field('c'), field('w'), field('x')))).toEqual({ code: null })
  })
  test('a user name or password that the flags do not announce ends the connection [v3 MQTT-3.1.2-18] [v3 MQTT-3.1.2-20]', async () => {
    expect(await subject.refused(connect('MQTT', 4, 2, field('c'), field('u')))).toEqual({ code: null })
    expect(await subject.refused(connect('MQTT', 4, 0x82, field('c'), field('u'), field('p')))).toEqual({ code: null })
  })
  test('flags that announce a missing user name or password end the connection [v3 MQTT-3.1.2-19] [v3 MQTT-3.1.2-21]', async () => {
    expect(await subject.refused(connect('MQTT', 4, 0x82, field('c')))).toEqual({ code: null })
    expect(await subject.refused(connect('MQTT', 4, 0xc2, field('c'), field('u')))).toEqual({ code: null })
  })
  test('a password without a user name ends the connection [v3 MQTT-3.1.2-22]', async () => {
    expect(await subject.refused(connect('MQTT', 4, 0x42, field('c'), field('p')))).toEqual({ code: null })
  })
  test('a CONNECT cut short or too long ends the connection without CONNACK [v3 MQTT-3.1.4-1] [v3 MQTT-3.1.3-1] [v3 MQTT-3.1.3-3] [v3 MQTT-3.2.2-6]', async () => {
    expect(await subject.refused(frame(1, 0))).toEqual({ code: null })
    expect(await subject.refused(frame(1, 0, field('MQTT'), Buffer.from([4, 2])))).toEqual({ code: null })
    expect(await subject.refused(connect('MQTT', 4, 2))).toEqual({ code: null })
    expect(await subject.refused({ clientId: 'c', trailing: Buffer.from([0]) })).toEqual({ code: null })
  })
  test('the fields are read in their order [v3 MQTT-3.1.3-1] [v3 MQTT-3.1.4-4]', async () => {
    const watcher = await subject.subscriber(4, 'order/will')
    const client = await subject.connect(4, {
      clientId: 'order',
      will: { topic: 'order/will', payload: 'w' },
      userName: 'u',
      password: 'p',
    })
    client.reset()
    expect((await watcher.receive()).payload.toString()).toBe('w')
  })
})

describe('Client Identifier', () => {
  test('1 to 23 letters and digits are accepted, and longer ones [v3 MQTT-3.1.3-5]', async () => {
    const letters = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'
    for (const clientId of ['a', letters.slice(0, 23), letters.slice(23, 46), letters.slice(39), letters])
      await subject.connect(4, { clientId })
  })
  test('an empty one with CleanSession gets a session of its own [v3 MQTT-3.1.3-6] [v3 MQTT-3.1.3-7]', async () => {
    const one = await subject.connect(4, { clientId: '' })
    const two = await subject.connect(4, { clientId: '' })
    await one.subscribe('empty/1')
    await two.subscribe('empty/2')
    two.startPublish({ topic: 'empty/1' })
    two.startPublish({ topic: 'empty/2' })
    expect((await one.receive()).topic).toBe('empty/1')
    expect((await two.receive()).topic).toBe('empty/2')
  })
  test('an empty one without CleanSession gets return code 2 [v3 MQTT-3.1.3-7] [v3 MQTT-3.1.3-8] [v3 MQTT-3.1.3-9] [v3 MQTT-3.2.2-5]', async () => {
    expect(await subject.refused({ clientId: '', clean: false })).toEqual({ code: 2 })
  })
  test('one in use ends the older connection [v3 MQTT-3.1.4-2] [v3 MQTT-3.1.3-2]', async () => {
    const older = await subject.connect(4, { clientId: 'twice' })
    const newer = await subject.connect(4, { clientId: 'twice' })
    await older.expectClosed()
    await newer.ping()
  })
})

describe('Session Present', () => {
  const connack = async (clientId: string, clean: boolean) => {
    const client = await subject.dial()
    const answer = await client.connect({ clientId, clean })
    await client.disconnect()
    return answer
  }
  test('is 0 without a session [v3 MQTT-3.2.2-3] [v3 MQTT-3.1.2-4]', async () => {
    expect(await connack('sp-new', false)).toMatchObject({ code: 0, sessionPresent: false })
  })
  test('is 1 with a session [v3 MQTT-3.2.2-2] [v3 MQTT-3.1.2-4] [v3 MQTT-3.1.3-2]', async () => {
    await subject.leaveSession(4, 'sp-old')
    expect(await connack('sp-old', false)).toMatchObject({ code: 0, sessionPresent: true })
  })
  test('is 0 with CleanSession, whatever there was, and what there was is gone [v3 MQTT-3.2.2-1] [v3 MQTT-3.1.2-6] [v3 MQTT-3.1.4-3]', async () => {
    await subject.leaveSession(4, 'sp-clean', ['sp/clean', 1])
    expect(await connack('sp-clean', true)).toMatchObject({ code: 0, sessionPresent: false })
    expect(await connack('sp-clean', false)).toMatchObject({ code: 0, sessionPresent: false })
  })
  test('is 0 in a refusal [v3 MQTT-3.2.2-4]', async () => {
    const client = await subject.dial()
    expect(await client.connect({ clientId: '', clean: false })).toMatchObject({ code: 2, sessionPresent: false })
    await client.expectClosed()
  })
})

describe('session', () => {
  test('keeps subscriptions and messages of QoS 1 and 2 while the client is away [v3 MQTT-3.1.2-4] [v3 MQTT-3.1.2-5] [v3 MQTT-4.1.0-1] [v3 MQTT-4.5.0-1]', async () => {
    await subject.leaveSession(4, 'away', ['away/#', 2])
    const publisher = await subject.connect(4)
    await publisher.publish({ topic: 'away/1', qos: 1 })
    await publisher.publish({ topic: 'away/2', qos: 2 })
    const client = await subject.connect(4, persistent(4, 'away'))
    expect(await client.receive()).toMatchObject({ topic: 'away/1', qos: 1 })
    expect(await client.receive()).toMatchObject({ topic: 'away/2', qos: 2 })
    await publisher.publish({ topic: 'away/3', qos: 1 })
    expect((await client.receive()).topic).toBe('away/3')
  })
  test('ends with its connection when it is clean: nothing is used again [v3 MQTT-3.1.2-6]', async () => {
    const client = await subject.connect(4, { clientId: 'ends' })
    await client.subscribe(['ends/#', 1])
    await client.disconnect()
    const publisher = await subject.connect(4)
    await publisher.publish({ topic: 'ends/1', qos: 1 })
    const again = await subject.connect(4, { clientId: 'ends', clean: false })
    await publisher.publish({ topic: 'ends/2', qos: 1 })
    await again.ping()
    expect(again.takeAll('publish')).toEqual([])
  })
  test('lasts as long as its connection, persistent or not [v3 MQTT-4.1.0-2] [v3 MQTT-4.1.0-1]', async () => {
    const client = await subject.connect(4, { clientId: 'lasts' })
    await client.subscribe(['lasts', 1])
    for (let n = 0; n < 20; n++) await client.ping()
    await client.publish({ topic: 'lasts', qos: 1 })
    await client.receive()
  })
  test('does not take retained messages with it [v3 MQTT-3.1.2-7]', async () => {
    const client = await subject.connect(4, { clientId: 'keeper' })
    await client.publish({ topic: 'keeper/kept', payload: 'x', qos: 1, retain: true })
    await client.disconnect()
    await subject.connect(4, { clientId: 'keeper' })
    const subscriber = await subject.subscriber(4, 'keeper/#', 1)
    expect((await subscriber.receive()).payload.toString()).toBe('x')
  })
})
