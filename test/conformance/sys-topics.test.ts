/** $SYS topics and client events, seen by clients; who may read and write them. */
import { readFileSync } from 'node:fs'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { type ConfigInput, configSchema } from '../../src/config/schema.ts'
import { createBroker } from '../../src/embed.ts'
import { MovingRate, sysTopics } from '../../src/router/sys-topics.ts'
import { memoryStore } from '../../src/stores/memory.ts'
import { clientEventNames, topicOf } from '../../src/telemetry/client-events.ts'
import { type EmbeddedBroker, embedBroker, type InlineBroker, startBroker } from '../support/broker-inline.ts'
import { RawClient } from '../support/raw-client.ts'
import { encodeRawProperties, frame, type RawConnect } from '../support/raw-packets.ts'
import { ScramClient, scramUser } from '../support/scram-client.ts'

const brokers: InlineBroker[] = []
const embedded: EmbeddedBroker[] = []
const clients: RawClient[] = []

async function start(config: ConfigInput): Promise<InlineBroker> {
  const broker = await startBroker(config)
  brokers.push(broker)
  return broker
}
async function join(broker: InlineBroker, options: RawConnect = {}): Promise<RawClient> {
  const client = await RawClient.connected(broker.mqtt, options)
  clients.push(client)
  return client
}
afterEach(() => {
  for (const client of clients.splice(0)) if (!client.isClosed) client.reset()
})
async function embed(config: ConfigInput): Promise<EmbeddedBroker> {
  const broker = await embedBroker(config)
  embedded.push(broker)
  return broker
}
afterAll(async () => {
  await Promise.all(embedded.map((broker) => broker.stop()))
  await Promise.all(brokers.map((broker) => broker.stop()))
})

/** All values a new subscriber gets at once. */
async function snapshot(broker: InlineBroker, filter = '$SYS/broker/#'): Promise<Map<string, string>> {
  const client = await join(broker, { clientId: `snapshot-${clients.length}` })
  await client.subscribe(filter)
  await client.ping()
  const found = new Map(client.takeAll('publish').map((packet) => [packet.topic, packet.payload.toString()]))
  await client.disconnect()
  return found
}

/** The value once it is what is wanted. */
async function awaitValue(client: RawClient, topic: string, wanted: (value: string) => boolean): Promise<string> {
  const packet = await client.expect('publish', (p) => p.topic === topic && wanted(p.payload.toString()))
  return packet.payload.toString()
}

describe('$SYS', () => {
  let broker: InlineBroker
  beforeAll(async () => {
    broker = await start({ sys: { intervalSeconds: 1 }, limits: { sessionExpirySecondsMax: 2 } })
  })

  test('a new subscriber gets every topic at once, retained, at QoS 0', async () => {
    const client = await join(broker)
    await client.subscribe(['$SYS/broker/#', 2])
    await client.ping()
    const packets = client.takeAll('publish')
    // The second may have ended meanwhile: what changed comes live then.
    const atOnce = packets.filter(({ retain }) => retain)
    expect(atOnce.map((packet) => packet.topic).sort()).toEqual([...sysTopics].sort())
    for (const packet of packets) expect(packet.qos).toBe(0)
  })

  test('the values are those of Mosquitto in name and form', async () => {
    const values = await snapshot(broker)
    const value = (name: string) => values.get(`$SYS/broker/${name}`)
    expect(value('version')).toMatch(/^sluicemq version \d+\.\d+\.\d+/)
    expect(value('uptime')).toMatch(/^\d+ seconds$/)
    expect(Date.parse(value('timestamp')!)).toBeGreaterThan(0)
    expect(value('load/messages/received/15min')).toMatch(/^\d+\.\d\d$/)
    expect(Number(value('heap/maximum'))).toBeGreaterThanOrEqual(Number(value('heap/current')))
  })

  test('clients, subscriptions, packets and bytes are counted', async () => {
    const before = await snapshot(broker)
    const watch = await join(broker, { clientId: 'count-watch' })
    const away = await join(broker, { clientId: 'count-away', clean: false })
    await away.subscribe(['count/x', 1], ['$share/g/count/x', 1])
    await away.disconnect()
    await watch.publish({ topic: 'count/x', payload: '12345', qos: 1, retain: true })
    await watch.subscribe('$SYS/broker/#')
    await awaitValue(watch, '$SYS/broker/clients/disconnected', (value) => value === '1')
    await watch.ping()
    const after = await snapshot(broker)
    const grown = (name: string) => Number(after.get(`$SYS/broker/${name}`)) - Number(before.get(`$SYS/broker/${name}`))
    expect(after.get('$SYS/broker/clients/total')).toBe('2')
    expect(after.get('$SYS/broker/clients/active')).toBe('1')
    expect(Number(after.get('$SYS/broker/clients/maximum'))).toBeGreaterThanOrEqual(2)
    expect(after.get('$SYS/broker/subscriptions/count')).toBe('3')
    expect(after.get('$SYS/broker/shared_subscriptions/count')).toBe('1')
    expect(after.get('$SYS/broker/retained messages/count')).toBe('1')
    // One copy by the subscription, one by the shared one, and the retained message.
    expect(after.get('$SYS/broker/messages/stored')).toBe('3')
    expect(grown('publish/messages/received')).toBe(1)
    expect(grown('publish/bytes/received')).toBe(2 + 2 + 'count/x'.length + 2 + 5)
    expect(grown('messages/received')).toBeGreaterThanOrEqual(6)
    // The watcher alone got every value.
    expect(grown('publish/messages/sent')).toBeGreaterThanOrEqual(sysTopics.length)
    expect(grown('messages/sent')).toBeGreaterThan(grown('publish/messages/sent'))
    expect(grown('bytes/sent')).toBeGreaterThan(grown('publish/bytes/sent'))
    expect(Number(after.get('$SYS/broker/load/connections/1min'))).toBeGreaterThan(0)
    await awaitValue(watch, '$SYS/broker/clients/expired', (value) => value === '1')
  })

  test('later values come live, and only those that changed', async () => {
    const client = await join(broker)
    await client.subscribe('$SYS/broker/version', '$SYS/broker/uptime')
    await client.ping()
    client.takeAll('publish')
    expect(await client.expect('publish')).toMatchObject({ topic: '$SYS/broker/uptime', retain: false })
    await client.ping()
    expect(client.takeAll('publish')).toEqual([])
  })

  test('filters that begin with a wildcard do not match them [v5 MQTT-4.7.2-1] [v3 MQTT-4.7.2-1]', async () => {
    const client = await join(broker)
    await client.subscribe('#', '+/broker/uptime', '+/#')
    const other = await join(broker)
    await other.subscribe('$SYS/broker/uptime')
    await other.expect('publish', (packet) => !packet.retain)
    await client.ping()
    expect(client.takeAll('publish').filter((packet) => packet.topic.startsWith('$'))).toEqual([])
  })

  test.each(['$SYS/broker/version', '$SYS', '$events/client/connected/x', '$events'])(
    'clients do not publish to %s, nor leave wills there',
    async (topic) => {
      const watch = await join(broker)
      await watch.subscribe('$SYS/broker/version', '$SYS', '$events/#')
      await watch.ping()
      watch.takeAll('publish')
      const five = await join(broker, { version: 5, clientId: 'forger' })
      const packetId = five.startPublish({ topic, payload: 'forged', qos: 1, retain: true })
      expect(await five.expect('puback')).toMatchObject({ packetId, code: 0x87 })
      const four = await join(broker, { clientId: 'forger-4' })
      four.startPublish({ topic, payload: 'forged' })
      await four.expectClosed()
      const will = await RawClient.open(broker.mqtt)
      const connack = await will.connect({ version: 5, clientId: 'w', will: { topic, payload: 'forged' } })
      expect(connack.code).toBe(0x87)
      await watch.ping()
      expect(watch.takeAll('publish')).toEqual([])
    },
  )
})

describe('who may read them', () => {
  const filters = [
    '$SYS/#',
    '$SYS/broker/uptime',
    '$share/g/$SYS/#',
    '$SYS/+/uptime',
    '$events/#',
    '$share/g/$events/#',
  ]

  test('sys.readableBy nobody: 0x87, and 0x80 in 3.1.1, also for a shared subscription', async () => {
    const broker = await start({ sys: { readableBy: 'nobody' } })
    const five = await join(broker, { version: 5 })
    expect((await five.subscribe(...filters, 'a')).codes).toEqual([...filters.map(() => 0x87), 0])
    const four = await join(broker)
    expect((await four.subscribe(...filters, 'a')).codes).toEqual([...filters.map(() => 0x80), 0])
    await four.ping()
    expect(four.takeAll('publish')).toEqual([])
  })

  test('sys.readableBy authenticated: a User Name that nobody checked is not enough', async () => {
    const broker = await start({ sys: { readableBy: 'authenticated' } })
    const client = await join(broker, { version: 5, userName: 'admin' })
    expect((await client.subscribe('$SYS/#')).codes).toEqual([0x87])
  })

  test('sys.readableBy authenticated: a SCRAM user may, and a client that the hook of the program let in', async () => {
    const users = { alice: scramUser('pencil', 'salt-of-alice') }
    const broker = await embed({ sys: { readableBy: 'authenticated' }, authentication: { scram: { users } } })
    const scram = new ScramClient('alice', 'pencil')
    const client = await RawClient.open(broker.mqtt)
    clients.push(client)
    const method = { authenticationMethod: 'SCRAM-SHA-256' }
    const connack = client.connect({ version: 5, properties: { ...method, authenticationData: scram.first } })
    const challenge = await client.expectNext('auth')
    const authenticationData = scram.final(challenge.properties['authenticationData'] as Buffer)
    client.send(frame(15, 0, Buffer.from([0x18]), encodeRawProperties({ ...method, authenticationData })))
    expect((await connack).code).toBe(0)
    expect((await client.subscribe('$SYS/#')).codes).toEqual([0])

    broker.aedes.authenticate = (_client, userName, _password, done) => done(null, userName === 'bob')
    const bob = await RawClient.open(broker.mqtt)
    clients.push(bob)
    expect((await bob.connect({ version: 5, userName: 'bob', password: 'x' })).code).toBe(0)
    expect((await bob.subscribe('$SYS/#')).codes).toEqual([0])
  })

  test('sys.readableBy auto: anyone on a loopback listener, authenticated clients on others', async () => {
    const local = await start({})
    expect((await (await join(local)).subscribe('$SYS/#')).codes).toEqual([0])
    const open = await start({ host: '0.0.0.0', allowAnonymous: true })
    const target = { ...open, mqtt: { host: '127.0.0.1', port: open.mqtt.port } }
    expect((await (await join(target)).subscribe('$SYS/#')).codes).toEqual([0x80])
  })

  test('sys.intervalSeconds 0: there are none', async () => {
    const broker = await start({ sys: { intervalSeconds: 0 } })
    expect(await snapshot(broker)).toEqual(new Map())
  })

  test('where limits.topicLevelsMax forbids some topics, the others are there', async () => {
    const broker = await start({ limits: { topicLevelsMax: 4 } })
    const topics = [...(await snapshot(broker)).keys()]
    expect(topics).toContain('$SYS/broker/uptime')
    expect(topics.some((topic) => topic.includes('/load/'))).toBe(false)
  })
})

test('nothing of $SYS is written to the store', async () => {
  const store = memoryStore({ clock: systemClock })
  const config = configSchema.parse({ store: 'memory', log: { level: 'silent' } })
  const broker = await createBroker({ config, store })
  const durable: string[] = []
  for await (const { topic } of store.retained()) durable.push(topic)
  expect(broker.core.retained.get('$SYS/broker/uptime')).toBeDefined()
  expect(broker.core.retained.size).toBe(0)
  expect(durable).toEqual([])
  await new Promise<void>((resolve) => broker.close(resolve))
})

describe('client events', () => {
  const parse = (payload: Buffer): Record<string, unknown> => JSON.parse(payload.toString())

  test('connected, subscribed, unsubscribed and disconnected, in order, with the facts', async () => {
    const broker = await start({ clientEvents: true })
    const watch = await join(broker, { clientId: 'watch' })
    watch.autoAck = true
    await watch.subscribe(['$events/client/+/device', 1])
    const client = await join(broker, { clientId: 'device', userName: 'fleet', version: 5 })
    await client.subscribe(['a/b', 1])
    await client.unsubscribe('a/b')
    await client.disconnect()
    const packets = await watch.expectPublishes(4)
    expect(packets.map((packet) => [packet.topic, packet.qos, packet.retain])).toEqual(
      ['connected', 'subscribed', 'unsubscribed', 'disconnected'].map((event) => [
        `$events/client/${event}/device`,
        1,
        false,
      ]),
    )
    const [connected, subscribed, unsubscribed, disconnected] = packets.map((packet) => parse(packet.payload))
    const who = { clientId: 'device', userName: 'fleet', address: '127.0.0.1', version: 5 }
    expect(connected).toMatchObject({ ...who, protocol: 'tcp', sessionPresent: false })
    expect(subscribed).toMatchObject({ clientId: 'device', topicFilter: 'a/b', qos: 1 })
    expect(unsubscribed).toMatchObject({ clientId: 'device', topicFilter: 'a/b' })
    expect(disconnected).toMatchObject({ ...who, reason: 'the client disconnected', error: null })
    expect(Date.now() - Date.parse(String(disconnected!['time']))).toBeLessThan(10_000)
  })

  test('a takeover, a refused CONNECT and an expired session', async () => {
    const broker = await start({ clientEvents: true, limits: { sessionExpirySecondsMax: 1 } })
    const watch = await join(broker, { clientId: 'watch' })
    watch.autoAck = true
    await watch.subscribe(['$events/client/disconnected/twin', 1], ['$events/client/refused/#', 1])
    await watch.subscribe(['$events/client/expired/#', 1])
    await join(broker, { clientId: 'twin' })
    await join(broker, { clientId: 'twin' })
    expect(parse((await watch.expect('publish')).payload)).toMatchObject({ error: 'session_taken_over' })
    const refused = await RawClient.open(broker.mqtt)
    const will = { topic: '$SYS/x', payload: '' }
    await refused.connect({ clientId: 'no', version: 5, will })
    const refusal = await watch.expect('publish')
    expect(refusal.topic).toBe('$events/client/refused/no')
    expect(parse(refusal.payload)).toMatchObject({ error: 'not_authorized' })
    const short = await join(broker, { clientId: 'short', clean: false })
    await short.disconnect()
    expect((await watch.expect('publish')).topic).toBe('$events/client/expired/short')
  })

  test('a Client Identifier cannot pretend to be levels or wildcards', async () => {
    const broker = await start({ clientEvents: true })
    const watch = await join(broker, { clientId: 'watch' })
    watch.autoAck = true
    await watch.subscribe(['$events/client/connected/+', 1])
    for (const clientId of ['a/b', '+', '#', '100%', 'дом', '\u0007']) {
      await join(broker, { clientId })
      const packet = await watch.expect('publish')
      expect(packet.topic).toBe(
        `$events/client/connected/${encodeURIComponent(clientId).replace('%D0%B4%D0%BE%D0%BC', 'дом')}`,
      )
      expect(parse(packet.payload)['clientId']).toBe(clientId)
    }
  })

  test('a Client Identifier as long as can be makes a topic as long as can be', () => {
    const topic = topicOf('clientConnected', '😀/'.repeat(20_000), 65_535)
    expect(Buffer.byteLength(topic)).toBeLessThanOrEqual(65_535)
    expect(Buffer.byteLength(topic)).toBeGreaterThan(65_500)
    expect(topic.split('/')).toHaveLength(4)
  })

  test('a bridge rule keeps them in a queue', async () => {
    const broker = await start({ clientEvents: true, bridge: [{ topicFilter: '$events/client/#', queue: 'presence' }] })
    await join(broker, { clientId: 'kept' })
    const body = JSON.stringify({ max: 1, waitMs: 5000 })
    const headers = { 'content-type': 'application/json' }
    const answer = await fetch(`${broker.http}/api/v1/queues/presence/pull`, { method: 'POST', headers, body })
    const { messages } = (await answer.json()) as { messages: { topic: string; payload: string }[] }
    expect(messages[0]!.topic).toBe('$events/client/connected/kept')
    expect(JSON.parse(messages[0]!.payload)).toMatchObject({ clientId: 'kept' })
  })

  test('without the setting there are none', async () => {
    const broker = await start({})
    const watch = await join(broker, { clientId: 'watch' })
    await watch.subscribe('$events/#')
    await join(broker, { clientId: 'other' })
    await watch.expectNothing(50, 'publish')
  })
})

describe('moving averages', () => {
  test('go towards the rate by 1 - e^(-t / window), whatever the interval', () => {
    const once = new MovingRate(5)
    const often = new MovingRate(5)
    const expected = 600 * (1 - Math.exp(-1 / 5))
    expect(once.next(600, 60_000)).toBeCloseTo(expected)
    let last = 0
    for (let second = 1; second <= 60; second++) last = often.next(second * 10, 1000)
    expect(last).toBeCloseTo(expected)
    expect(often.next(600, 300_000)).toBeCloseTo(expected * Math.exp(-1))
  })
})

describe('docs/broker-topics.md', () => {
  const page = readFileSync('docs/broker-topics.md', 'utf8')

  test('names the $SYS topics that exist', () => {
    const rows = [...page.matchAll(/^\| `(\$SYS[^`]*)`( `…)?/gm)].flatMap(([, topic, more]) =>
      more === undefined ? [topic!] : [topic!, topic!.replace('1min', '5min'), topic!.replace('1min', '15min')],
    )
    expect(rows.sort()).toEqual([...sysTopics].sort())
  })

  test('names the client events that exist', () => {
    const rows = [...page.matchAll(/^\| `\$events\/client\/(\w+)/gm)].map(([, event]) => event)
    expect(rows).toEqual(Object.values(clientEventNames))
  })
})
