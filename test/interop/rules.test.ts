/** Bridge rules in a running broker: what enters queues, what publishers hear, changes while messages come. */
import { afterEach, describe, expect, test } from 'vitest'
import type { ConfigInput } from '../../src/config/schema.ts'
import { type InlineBroker, startBroker } from '../support/broker-inline.ts'
import { BrokerProcess } from '../support/broker-process.ts'
import { RawClient } from '../support/raw-client.ts'
import { metricsOf } from '../support/spread.ts'

interface Envelope {
  payload: string
  topic: string
  id: string
  receipt: string
}

const brokers: InlineBroker[] = []

afterEach(async () => {
  for (const broker of brokers.splice(0)) await broker.stop()
})

async function start(config: ConfigInput): Promise<InlineBroker> {
  const broker = await startBroker(config)
  brokers.push(broker)
  return broker
}

async function call(broker: { http: string }, method: string, path: string, body?: unknown) {
  const init = body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }
  const response = await fetch(`${broker.http}/api/v1${path}`, { method, ...init })
  const text = await response.text()
  return { status: response.status, body: text === '' ? null : JSON.parse(text) }
}

async function pull(broker: { http: string }, queue: string): Promise<Envelope[]> {
  const { body } = await call(broker, 'POST', `/queues/${encodeURIComponent(queue)}/pull`, { max: 100 })
  return body.messages
}

const payloads = async (broker: { http: string }, queue: string) =>
  (await pull(broker, queue)).map((one) => one.payload)

describe('what enters', () => {
  test('conditions, transforms and several rules for one topic; subscribers get what was published', async () => {
    const broker = await start({
      bridge: [
        { topicFilter: 'site/{site}/device/{device}/#', queue: 'all' },
        {
          topicFilter: 'site/{site}/device/{device}/t',
          queue: 'hot',
          when: [
            { level: 'site', in: ['north'] },
            { payload: 'temperature', gt: 40 },
          ],
          transform: { rename: { temperature: 'celsius' }, set: { device: '{level:device}' } },
        },
      ],
    })
    const device = await RawClient.connected(broker.mqtt, { version: 5 })
    await device.subscribe('site/#')
    const publish = (topic: string, payload: object) =>
      device.publish({ topic, qos: 1, payload: JSON.stringify(payload) })
    await publish('site/north/device/d1/t', { temperature: 41 })
    await publish('site/north/device/d1/t', { temperature: 40 })
    await publish('site/south/device/d2/t', { temperature: 50 })
    await publish('site/north/device/d1/other', { temperature: 50 })
    expect(await payloads(broker, 'hot')).toEqual(['{"celsius":41,"device":"d1"}'])
    expect((await payloads(broker, 'all')).length).toBe(4)
    expect((await device.expect('publish')).payload.toString()).toBe('{"temperature":41}')
    await device.drop()
  })

  test('payloads that do not fit are kept in quarantine with the reason', async () => {
    const broker = await start({
      bridge: [{ topicFilter: 'in', queue: 'q', schema: { type: 'object', required: ['id'] } }],
    })
    const device = await RawClient.connected(broker.mqtt)
    await device.publish({ topic: 'in', qos: 1, payload: '{"id":1}' })
    await device.publish({ topic: 'in', qos: 1, payload: '{}' })
    const metrics = await metricsOf(broker)
    expect(metrics).toContain('sluicemq_rule_messages_total{rule="in > q",outcome="kept"} 1')
    expect(metrics).toContain('sluicemq_rule_messages_total{rule="in > q",outcome="quarantined"} 1')
    expect(await payloads(broker, 'q')).toEqual(['{"id":1}'])
    const [letter] = await pull(broker, 'q.invalid')
    expect(letter).toMatchObject({
      payload: '{}',
      rule: 'in > q',
      note: "the payload must have required property 'id'",
    })
    await device.drop()
  })

  test.each([1, 2] as const)(
    'a refused QoS %i message is answered with 0x99 and nothing of it is kept',
    async (qos) => {
      const broker = await start({
        bridge: [
          { topicFilter: 'in/#', queue: 'all' },
          { topicFilter: 'in/+', queue: 'q', schema: { type: 'object' }, invalid: 'refuse' },
        ],
      })
      const device = await RawClient.connected(broker.mqtt, { version: 5 })
      device.startPublish({ topic: 'in/a', qos, retain: true, payload: '[]' })
      const answer = await device.expect(qos === 1 ? 'puback' : 'pubrec')
      expect(answer.code).toBe(0x99)
      expect(answer.properties['reasonString']).toContain('rule in/+ > q: the payload must be object')
      await device.publish({ topic: 'in/a', qos, payload: '{}' })
      expect(await payloads(broker, 'all')).toEqual(['{}'])
      expect(await payloads(broker, 'q')).toEqual(['{}'])
      await device.subscribe('in/#')
      await device.expectNothing(20, 'publish')
      const old = await RawClient.connected(broker.mqtt, { version: 4 })
      old.startPublish({ topic: 'in/a', qos, payload: '[]' })
      await old.expectClosed()
      await device.drop()
    },
  )
})

describe('keys', () => {
  test('messages of one ordering key are worked one after the other, other keys beside them', async () => {
    const broker = await start({ bridge: [{ topicFilter: 'd/{device}', queue: 'q', key: '{level:device}' }] })
    const device = await RawClient.connected(broker.mqtt)
    for (const topic of ['d/a', 'd/a', 'd/b']) await device.publish({ topic, qos: 1, payload: 'x' })
    const first = await pull(broker, 'q')
    expect(first.map(({ topic }) => topic)).toEqual(['d/a', 'd/b'])
    await call(broker, 'POST', '/queues/q/ack', { receipts: [first[0]!.receipt] })
    expect((await pull(broker, 'q')).map(({ topic }) => topic)).toEqual(['d/a'])
    await device.drop()
  })

  test('of messages with one idempotency key the first enters; all are acknowledged', async () => {
    const broker = await start({ bridge: [{ topicFilter: 'd', queue: 'q', deduplicate: '{property:id}' }] })
    const device = await RawClient.connected(broker.mqtt, { version: 5 })
    const publish = (payload: string, id: string) =>
      device.publish({ topic: 'd', qos: 1, payload, properties: { userProperty: [['id', id]] } as never })
    await publish('1', 'x')
    await publish('2', 'x')
    await publish('3', 'y')
    await device.publish({ topic: 'd', qos: 1, payload: '4' })
    expect(await payloads(broker, 'q')).toEqual(['1', '3', '4'])
    await device.drop()
  })

  test('a retransmission is dropped, another message with its Packet Identifier and content is not', async () => {
    const broker = await start({ bridge: [{ topicFilter: 'd', queue: 'q', deduplicate: '{retransmission}' }] })
    const publish = async (payload: string, dup: boolean) => {
      const device = await RawClient.connected(broker.mqtt, { clientId: 'device' })
      await device.publish({ topic: 'd', qos: 1, payload, packetId: 7, dup })
      await device.drop()
    }
    await publish('a', false)
    await publish('a', true)
    await publish('a', false)
    await publish('a', true)
    await publish('b', true)
    await publish('b', true)
    expect(await payloads(broker, 'q')).toEqual(['a', 'a', 'b'])
  })

  test('priorities, delays and times to live are those of the rule', async () => {
    const broker = await start({
      bridge: [
        { topicFilter: 'low', queue: 'q', priority: 0 },
        { topicFilter: 'high', queue: 'q', priority: 9 },
        { topicFilter: 'late', queue: 'q', delayMs: 300 },
        { topicFilter: 'brief', queue: 'q', ttlMs: 1 },
      ],
    })
    const device = await RawClient.connected(broker.mqtt)
    for (const topic of ['brief', 'late', 'low', 'high']) await device.publish({ topic, qos: 1, payload: topic })
    await new Promise((resolve) => setTimeout(resolve, 5))
    expect(await payloads(broker, 'q')).toEqual(['high', 'low'])
    const { body } = await call(broker, 'POST', '/queues/q/pull', { waitMs: 5000 })
    expect(body.messages.map((one: Envelope) => one.payload)).toEqual(['late'])
    await device.drop()
  })
})

describe('changes while the broker runs', () => {
  test('a rule is applied, replaced, deleted; each message meets the one or the other', async () => {
    const broker = await start({ bridge: [{ name: 'base', topicFilter: 'a', queue: 'one' }] })
    const device = await RawClient.connected(broker.mqtt)
    const publish = (payload: string) => device.publish({ topic: 'a', qos: 1, payload })
    await publish('1')
    const rule = { topicFilter: 'a', queue: 'two', when: [{ payload: 'n', exists: true }] }
    expect(await call(broker, 'PUT', '/rules/second', rule)).toMatchObject({
      status: 200,
      body: { name: 'second', source: 'api', queue: 'two', counters: { kept: 0 } },
    })
    await publish('{"n":2}')
    expect((await call(broker, 'PUT', '/rules/base', { topicFilter: 'a', queue: 'three' })).status).toBe(200)
    await publish('3')
    expect((await call(broker, 'DELETE', '/rules/second')).status).toBe(204)
    await publish('{"n":4}')
    expect(await payloads(broker, 'one')).toEqual(['1', '{"n":2}'])
    expect(await payloads(broker, 'two')).toEqual(['{"n":2}'])
    expect(await payloads(broker, 'three')).toEqual(['3', '{"n":4}'])
    const { body } = await call(broker, 'GET', '/rules')
    expect(body.rules.map((one: { name: string; source: string }) => [one.name, one.source])).toEqual([['base', 'api']])
    await device.drop()
  })

  test('a bad rule is refused with place and reason, and the one in force stays', async () => {
    const broker = await start({ bridge: [{ name: 'r', topicFilter: 'a', queue: 'one' }] })
    const bad = await call(broker, 'PUT', '/rules/r', { topicFilter: 'a', queue: 'q', key: '{clinet}' })
    expect(bad).toMatchObject({ status: 400, body: { error: { code: 'rule_invalid' } } })
    expect(bad.body.error.message).toBe('key: {clinet} is no reference; did you mean {client}?')
    const unknown = await call(broker, 'PUT', '/rules/r', { topicFilter: 'a', queu: 'q' })
    expect(unknown.body.error.message).toContain('queu: unknown key; did you mean queue?')
    expect((await call(broker, 'GET', '/rules/r')).body).toMatchObject({ queue: 'one', source: 'config' })
    expect((await call(broker, 'GET', '/rules/none')).status).toBe(404)
    expect((await call(broker, 'DELETE', '/rules/none')).body.error.code).toBe('rule_unknown')
  })

  test('a test shows what rules make of a message, and nothing happens', async () => {
    const broker = await start({
      bridge: [{ name: 'r', topicFilter: 'd/{device}/t', queue: 'q', key: '{level:device}', sample: 0.000001 }],
    })
    const { body } = await call(broker, 'POST', '/rules/test', { topic: 'd/7/t', payload: 'x' })
    expect(body.results).toEqual([
      {
        rule: 'r',
        outcome: 'keep',
        queue: 'q',
        levels: { device: '7' },
        key: '7',
        envelope: {
          v: 1,
          queue: 'q',
          topic: 'd/7/t',
          levels: ['d', '7', 't'],
          clientId: '',
          qos: 1,
          retain: false,
          time: expect.any(String),
          encoding: 'utf8',
          payload: 'x',
        },
        note: 'sampling and the rate of the sender are left out of the test',
      },
    ])
    const rule = { topicFilter: 'd/{x}/t', queue: 'p', when: [{ payload: 'n', gt: 1 }] }
    const tried = await call(broker, 'POST', '/rules/test', { topic: 'd/7/t', payload: '{"n":1}', rule })
    expect(tried.body.results).toEqual([
      { rule: 'd/{x}/t > p', outcome: 'skip', levels: { x: '7' }, reason: '{"payload":"n","gt":1}' },
    ])
    expect(await payloads(broker, 'q')).toEqual([])
  })

  test('what was applied and deleted outlives kill -9', async () => {
    const broker = await BrokerProcess.start()
    try {
      await call(broker, 'PUT', '/rules/mine', { topicFilter: 'mine', queue: 'mine', key: '{client}' })
      await call(broker, 'DELETE', `/rules/${encodeURIComponent('devices/+/telemetry > telemetry')}`)
      await broker.kill('SIGKILL')
      await broker.start()
      const { body } = await call(broker, 'GET', '/rules')
      expect(body.rules.map((one: { name: string }) => one.name)).toEqual(['mine'])
      const device = await RawClient.connected(broker.mqtt)
      await device.publish({ topic: 'mine', qos: 1, payload: 'x' })
      await device.publish({ topic: 'devices/1/telemetry', qos: 1, payload: 'y' })
      await device.drop()
      expect(await payloads(broker, 'mine')).toEqual(['x'])
      // Nothing names it any more, and nothing is in it.
      expect((await call(broker, 'GET', '/queues/telemetry')).status).toBe(404)
    } finally {
      await broker.stop()
    }
  }, 30_000)
})
