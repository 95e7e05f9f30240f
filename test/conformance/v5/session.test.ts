/** MQTT 5: session state, its expiry, and Will Messages with their delay. */
import { describe, expect, test } from 'vitest'
import { encodeRawDisconnect } from '../../support/raw-packets.ts'
import { brokerUnderTest, ending, persistent } from '../table/subject.ts'

const subject = brokerUnderTest({ store: 'lmdb' })

const present = async (clientId: string): Promise<boolean> => {
  const client = await subject.dial()
  return (await client.connect({ version: 5, ...persistent(5, clientId) })).sessionPresent
}

describe('session', () => {
  test('keeps subscriptions and messages of QoS 1 and 2 while the client is away [v5 MQTT-3.1.2-5] [v5 MQTT-3.1.2-23] [v5 MQTT-4.5.0-1]', async () => {
    await subject.leaveSession(5, 'away', ['away/#', 2])
    const publisher = await subject.connect(5)
    await publisher.publish({ topic: 'away/1', qos: 1 })
    await publisher.publish({ topic: 'away/2', qos: 2 })
    const client = await subject.connect(5, persistent(5, 'away'))
    expect(await client.receive()).toMatchObject({ topic: 'away/1', qos: 1 })
    expect(await client.receive()).toMatchObject({ topic: 'away/2', qos: 2 })
    await publisher.publish({ topic: 'away/3', qos: 1 })
    expect((await client.receive()).topic).toBe('away/3')
  })
  test('ends with its connection when the Session Expiry Interval is absent or 0 [v5 MQTT-4.1.0-2] [v5 MQTT-3.1.2-6]', async () => {
    for (const properties of [{}, { sessionExpiryInterval: 0 }]) {
      const client = await subject.connect(5, { clientId: 'ends', clean: false, properties })
      await client.subscribe(['ends', 1])
      await client.disconnect()
      const again = await subject.dial()
      const connack = await again.connect({ version: 5, clientId: 'ends', clean: false, properties })
      expect(connack.sessionPresent).toBe(false)
    }
  })
  test('starts anew with Clean Start, without messages or subscriptions of the old one [v5 MQTT-3.1.2-4] [v5 MQTT-3.1.4-4]', async () => {
    await subject.leaveSession(5, 'anew', ['anew', 1])
    const publisher = await subject.connect(5)
    await publisher.publish({ topic: 'anew', qos: 1 })
    const client = await subject.connect(5, {
      clientId: 'anew',
      clean: true,
      properties: { sessionExpiryInterval: 60 },
    })
    await publisher.publish({ topic: 'anew', qos: 1 })
    await client.ping()
    expect(client.takeAll('publish')).toEqual([])
  })
  test('lasts while its connection does, longer than its expiry [v5 MQTT-4.1.0-1]', async () => {
    const client = await subject.connect(5, { clientId: 'lasts', properties: { sessionExpiryInterval: 1 } })
    await client.subscribe(['lasts', 1])
    await new Promise((resolve) => setTimeout(resolve, 1_300))
    await client.publish({ topic: 'lasts', qos: 1 })
    await client.receive()
  })
  test('is gone when its expiry has passed, and no sooner [v5 MQTT-4.1.0-2] [v5 MQTT-3.1.2-23]', async () => {
    const options = { clientId: 'expires', clean: false, properties: { sessionExpiryInterval: 1 } }
    const leave = async () => {
      const client = await subject.connect(5, options)
      await client.subscribe(['expires', 1])
      await client.disconnect()
    }
    const left = performance.now()
    await leave()
    const there = await present('expires')
    // On a machine that took a second for it there is nothing to see.
    expect(there || performance.now() - left >= 1_000).toBe(true)
    await subject.hangUp()
    await leave()
    await new Promise((resolve) => setTimeout(resolve, 1_050))
    const late = await subject.dial()
    expect((await late.connect({ version: 5, ...options })).sessionPresent).toBe(false)
  })
  test('DISCONNECT may change the expiry [v5 MQTT-4.1.0-2] [v5 MQTT-3.1.2-23]', async () => {
    const client = await subject.connect(5, persistent(5, 'changes'))
    client.send(encodeRawDisconnect(5, 0, { sessionExpiryInterval: 0 }))
    await client.expectClosed()
    expect(await present('changes')).toBe(false)
  })
  test('DISCONNECT may not give an expiry to a session without one [v5 MQTT-4.13.1-1]', async () => {
    const client = await subject.connect(5, { clientId: 'never' })
    client.send(encodeRawDisconnect(5, 0, { sessionExpiryInterval: 10 }))
    expect(await ending(client)).toEqual({ reasonCode: 0x82 })
  })
})

describe('will', () => {
  test('a lost connection publishes it at its QoS, not retained [v5 MQTT-3.1.2-7] [v5 MQTT-3.1.2-8] [v5 MQTT-3.1.2-9] [v5 MQTT-3.1.2-14]', async () => {
    const watcher = await subject.subscriber(5, 'will/lost', 2)
    const client = await subject.connect(5, { will: { topic: 'will/lost', payload: 'gone', qos: 2 } })
    client.reset()
    expect(await watcher.receive()).toMatchObject({ qos: 2, retain: false, payload: Buffer.from('gone') })
    const later = await subject.subscriber(5, 'will/lost')
    await later.ping()
    expect(later.takeAll('publish')).toEqual([])
  })
  test('with Will Retain it is published as a retained message [v5 MQTT-3.1.2-15] [v5 MQTT-3.3.1-5]', async () => {
    const client = await subject.connect(5, { will: { topic: 'will/retained', payload: 'kept', retain: true } })
    client.reset()
    await client.closed
    const later = await subject.subscriber(5, 'will/retained')
    expect(await later.receive()).toMatchObject({ retain: true, payload: Buffer.from('kept') })
  })
  test('DISCONNECT 0x00 discards it [v5 MQTT-3.14.4-3] [v5 MQTT-3.1.2-10] [v5 MQTT-3.1.2-8]', async () => {
    const watcher = await subject.subscriber(5, 'will/bye')
    const short = await subject.connect(5, { will: { topic: 'will/bye' } })
    await short.disconnect()
    const long = await subject.connect(5, { will: { topic: 'will/bye' } })
    long.send(encodeRawDisconnect(5, 0, {}))
    await long.expectClosed()
    await watcher.expectNothing(100)
  })
  test('DISCONNECT with any other reason publishes it [v5 MQTT-3.1.2-8]', async () => {
    const watcher = await subject.subscriber(5, 'will/reason')
    for (const code of [0x04, 0x80, 0x81, 0x82, 0x93, 0x95, 0x97]) {
      const client = await subject.connect(5, { will: { topic: 'will/reason', payload: String(code) } })
      client.send(encodeRawDisconnect(5, code))
      expect((await watcher.receive()).payload.toString()).toBe(String(code))
    }
  })
  test('it is published once [v5 MQTT-3.1.2-10]', async () => {
    const watcher = await subject.subscriber(5, 'will/once')
    const client = await subject.connect(5, { ...persistent(5, 'once'), will: { topic: 'will/once' } })
    client.reset()
    await watcher.receive()
    const again = await subject.connect(5, persistent(5, 'once'))
    again.reset()
    await again.closed
    await watcher.expectNothing(100)
  })
  test('its properties come as they were given, user properties in their order, the delay left out [v5 MQTT-3.1.3-10] [v5 MQTT-3.3.2-4] [v5 MQTT-3.3.2-15] [v5 MQTT-3.3.2-16] [v5 MQTT-3.3.2-20]', async () => {
    const watcher = await subject.subscriber(5, 'will/properties')
    const properties = {
      payloadFormatIndicator: 1,
      messageExpiryInterval: 100,
      contentType: 'text/plain',
      responseTopic: 'will/reply',
      correlationData: Buffer.from([0, 1, 255]),
      userProperty: [
        ['b', '1'],
        ['a', '2'],
        ['b', '1'],
        ['', ''],
      ] as [string, string][],
    }
    const will = { topic: 'will/properties', properties: { willDelayInterval: 0, ...properties } }
    const client = await subject.connect(5, { will })
    client.reset()
    expect((await watcher.receive()).properties).toEqual(properties)
  })
  test('waits for its delay, and a client that is back in its session in time keeps it from being sent [v5 MQTT-3.1.3-9] [v5 MQTT-3.1.2-8]', async () => {
    const watcher = await subject.subscriber(5, 'will/delay')
    const will = { topic: 'will/delay', properties: { willDelayInterval: 1 } }
    const back = await subject.connect(5, { ...persistent(5, 'delay-back'), will: { ...will, payload: 'back' } })
    back.reset()
    await back.closed
    const gone = await subject.connect(5, { ...persistent(5, 'delay-gone'), will: { ...will, payload: 'gone' } })
    const lostAt = performance.now()
    gone.reset()
    await subject.connect(5, persistent(5, 'delay-back'))
    expect((await watcher.receive()).payload.toString()).toBe('gone')
    expect(performance.now() - lostAt).toBeGreaterThan(950)
    await watcher.expectNothing(200)
  })
  test('the end of the session ends the delay: no expiry, or Clean Start [v5 MQTT-3.1.2-8]', async () => {
    const watcher = await subject.subscriber(5, 'will/end')
    const will = { topic: 'will/end', properties: { willDelayInterval: 1_000 } }
    const brief = await subject.connect(5, { clientId: 'brief', will: { ...will, payload: 'no session' } })
    brief.reset()
    expect((await watcher.receive()).payload.toString()).toBe('no session')
    const cleaned = await subject.connect(5, { ...persistent(5, 'cleaned'), will: { ...will, payload: 'clean start' } })
    cleaned.reset()
    await cleaned.closed
    await watcher.expectNothing(50)
    await subject.connect(5, { clientId: 'cleaned', clean: true })
    expect((await watcher.receive()).payload.toString()).toBe('clean start')
  })
  test('a Session Expiry Interval shorter than the delay ends it [v5 MQTT-3.1.2-8]', async () => {
    const watcher = await subject.subscriber(5, 'will/short')
    const will = { topic: 'will/short', properties: { willDelayInterval: 1_000 } }
    const client = await subject.connect(5, { clientId: 'short', properties: { sessionExpiryInterval: 1 }, will })
    client.reset()
    await watcher.receive()
  })
  test('a takeover publishes the will of the older connection when its delay is 0 [v5 MQTT-3.1.2-8] [v5 MQTT-3.1.4-3]', async () => {
    const watcher = await subject.subscriber(5, 'will/over')
    await subject.connect(5, { ...persistent(5, 'over'), will: { topic: 'will/over', payload: 'old' } })
    await subject.connect(5, { ...persistent(5, 'over'), will: { topic: 'will/over', payload: 'new' } })
    expect((await watcher.receive()).payload.toString()).toBe('old')
    await watcher.expectNothing(50)
  })
})
