/** Aedes' documented hooks, events and methods, where its own suite does not look. */
import { describe, expect, test } from 'vitest'
import type { Client } from '../../src/aedes/client.ts'
import type { AedesPacket } from '../../src/aedes/packets.ts'
import type { Persistence } from '../../src/aedes/persistence.ts'
import { Events } from '../../src/telemetry/events.ts'
import { encodeRawConnect } from '../support/raw-packets.ts'
import { embed, next, temporaryDir } from './embedded.ts'

type Answer<T> = (error: Error | null, value?: T) => void

describe('permission to subscribe', () => {
  test('is asked for again when a session resumes: what is no longer allowed ends, with what it would have kept', async () => {
    const { broker, join } = await embed()
    const first = await join({ clientId: 'd', clean: false })
    await first.subscribe(['secret', 1], ['open', 1])
    await first.disconnect()
    broker.authorizeSubscribe = (_client, sub, done) => done(null, sub.topic === 'secret' ? null : sub)
    const second = await join({ clientId: 'd', clean: false })
    await second.disconnect()
    const publisher = await join()
    await publisher.publish({ topic: 'secret', payload: 's', qos: 1 })
    await publisher.publish({ topic: 'open', payload: 'o', qos: 1 })
    const third = await join({ clientId: 'd', clean: false })
    expect((await third.receive()).topic).toBe('open')
    await third.expectNothing(50, 'publish')
  })

  test('may be given for another Topic Filter and QoS, also when a session resumes', async () => {
    const { broker, join } = await embed()
    broker.authorizeSubscribe = (client, sub, done) =>
      done(null, { ...sub, topic: `of/${client.id}/${sub.topic}`, qos: 0 })
    const client = await join({ clientId: 'd' })
    expect((await client.subscribe(['x', 2])).codes).toEqual([0])
    await client.publish({ topic: 'of/d/x', payload: '1', qos: 1 })
    expect(await client.expect('publish')).toMatchObject({ topic: 'of/d/x', qos: 0 })
  })

  test('is asked for all Topic Filters of a SUBSCRIBE at once, and answered in their order', async () => {
    const { broker, join } = await embed()
    const asked = new Map<string, () => void>()
    broker.authorizeSubscribe = (_client, sub, done) => {
      asked.set(sub.topic, () => done(sub.topic === 'b' ? new Error('no') : null, sub))
      if (asked.size === 3) for (const topic of ['c', 'b', 'a']) asked.get(topic)!()
    }
    const client = await join()
    expect((await client.subscribe(['a', 1], ['b', 1], ['c', 2])).codes).toEqual([1, 0x80, 2])
  })

  test('refused with an error is told as clientError, and leaves the connection', async () => {
    const { broker, join } = await embed()
    broker.authorizeSubscribe = (_client, _sub, done) => done(new Error('not yours'))
    const client = await join({ clientId: 'd' })
    const told = next(broker, 'clientError')
    expect((await client.subscribe(['a', 1])).codes).toEqual([0x80])
    const [who, error] = (await told) as [Client, Error]
    expect([who.id, error.message]).toEqual(['d', 'not yours'])
    await client.ping()
  })

  test('the subscribe event has every Topic Filter once, and 128 for those refused', async () => {
    const { broker, join } = await embed()
    broker.authorizeSubscribe = (_client, sub, done) => done(null, sub.topic === 'b' ? null : sub)
    const client = await join({ version: 5 })
    const told = next(broker, 'subscribe')
    await client.subscribe(['a', 2], ['b', 1], ['a', 1 | 4])
    expect((await told)[0]).toEqual([
      { topic: 'a', qos: 1, nl: true, rap: false, rh: 0 },
      { topic: 'b', qos: 128, nl: false, rap: false, rh: 0 },
    ])
  })
})

describe('preConnect', () => {
  test('may change the packet', async () => {
    const { broker, join } = await embed()
    const watcher = await join({ clientId: 'watcher' })
    await watcher.subscribe(['changed/#', 1])
    broker.preConnect = (_client, packet, done) => {
      packet.clientId = `site-1/${packet.clientId}`
      packet.username = 'changed'
      packet.will = { topic: 'changed/will', payload: Buffer.from('w'), qos: 1, retain: false }
      done(null, true)
    }
    broker.authenticate = (client, username, _password, done) =>
      done(null, client.id === 'site-1/d' && username === 'changed')
    const client = await join({ clientId: 'd', userName: 'asked' })
    await client.drop()
    expect((await watcher.receive()).topic).toBe('changed/will')
  })
})

describe('hooks that are assigned while clients are connected', () => {
  test('authorizeForward is asked from then on, and no more when it is taken back', async () => {
    const { broker, join } = await embed()
    const original = broker.authorizeForward
    const client = await join({ clientId: 'd' })
    await client.subscribe(['t', 0])
    broker.authorizeForward = (who, packet) => {
      expect(packet).toMatchObject({ clientId: 'd', brokerId: broker.id, topic: 't' })
      expect(who.id).toBe('d')
      return null
    }
    await client.publish({ topic: 't', payload: '1' })
    await client.expectNothing(50, 'publish')
    broker.authorizeForward = original
    await client.publish({ topic: 't', payload: '2' })
    expect((await client.receive()).payload.toString()).toBe('2')
  })

  test('a change by authorizeForward is for one receiver only', async () => {
    const { broker, join } = await embed()
    broker.authorizeForward = (client, packet) => {
      if (client.id === 'a') packet.payload = Buffer.from('for a')
      return packet
    }
    const [a, b] = [await join({ clientId: 'a' }), await join({ clientId: 'b', clean: false })]
    await a.subscribe(['t', 1])
    await b.subscribe(['t', 1])
    await b.publish({ topic: 't', payload: 'for all', qos: 1 })
    expect((await a.receive()).payload.toString()).toBe('for a')
    expect((await b.receive()).payload.toString()).toBe('for all')
  })

  test('a listener of ack hears of clients that are connected already: the message for QoS 1, PUBREL for QoS 2', async () => {
    const { broker, join } = await embed()
    const client = await join({ clientId: 'd', clean: false })
    await client.subscribe(['t', 2])
    const acked: unknown[] = []
    broker.on('ack', (packet) => acked.push(packet))
    await client.publish({ topic: 't', payload: '1', qos: 1 })
    await client.receive()
    await client.publish({ topic: 't', payload: '2', qos: 2 })
    await client.receive()
    await client.ping()
    expect(acked).toMatchObject([{ cmd: 'publish', topic: 't', payload: Buffer.from('1'), qos: 1 }, { cmd: 'pubrel' }])
  })

  test('a message that the client refuses is not acknowledged [v5 MQTT-4.3.3-4]', async () => {
    const { broker, join } = await embed()
    let acks = 0
    broker.on('ack', () => acks++)
    const client = await join({ clientId: 'd', version: 5 })
    await client.subscribe(['t', 2])
    client.startPublish({ topic: 't', qos: 2 })
    const { packetId } = await client.expect('publish')
    client.send(Buffer.from([0x50, 3, packetId >> 8, packetId & 255, 0x80]))
    await client.ping()
    expect(acks).toBe(0)
  })
})

describe('authorizePublish', () => {
  test('may change what travels on, properties too', async () => {
    const { broker, join } = await embed()
    broker.authorizePublish = (_client, packet, done) => {
      packet.topic = 'elsewhere'
      packet.properties = { ...packet.properties, contentType: 'text/changed' }
      done()
    }
    const client = await join({ version: 5 })
    await client.subscribe(['elsewhere', 1])
    await client.publish({ topic: 't', payload: 'x', qos: 1, properties: { contentType: 'text/plain' } })
    expect((await client.receive()).properties).toMatchObject({ contentType: 'text/changed' })
  })

  test('that throws does not let the message through', async () => {
    const events = new Events()
    const { broker, join } = await embed({ events })
    const watcher = await join()
    await watcher.subscribe(['t', 0])
    broker.authorizePublish = () => {
      throw new Error('a bug of the program')
    }
    const client = await join({ clientId: 'd' })
    client.startPublish({ topic: 't', qos: 1 })
    await client.expectClosed()
    await watcher.expectNothing(50, 'publish')
  })

  test('is asked without a client about wills of a crash, and may refuse them', async () => {
    const dataDir = await temporaryDir()
    const { broker, join: joinFirst, stop } = await embed({ config: { dataDir } })
    const watcher = await joinFirst({ clientId: 'w', clean: false })
    await watcher.subscribe(['gone/#', 1])
    // What a crash leaves behind: wills that nobody took back.
    const { persistence } = broker as unknown as { persistence: Persistence }
    for (const id of ['d', 'e']) {
      const will = { topic: `gone/${id}`, payload: Buffer.from('bye'), qos: 1 as const, retain: false }
      await persistence.putWill({ id }, will)
    }
    await stop()
    const asked: unknown[] = []
    const authorizePublish = (client: unknown, packet: AedesPacket, done: Answer<void>): void => {
      asked.push([client, packet.topic])
      done(packet.topic === 'gone/e' ? new Error('no') : null)
    }
    const { join } = await embed({ config: { dataDir }, authorizePublish: authorizePublish as never })
    expect(asked.sort()).toEqual([
      [null, 'gone/d'],
      [null, 'gone/e'],
    ])
    const back = await join({ clientId: 'w', clean: false })
    expect((await back.receive()).topic).toBe('gone/d')
    await back.expectNothing(50, 'publish')
  })
})

describe('events', () => {
  test('publish tells of wills and of $SYS, with no client', async () => {
    const { broker, join } = await embed()
    const seen: [string, unknown][] = []
    broker.on('publish', (packet, client) => seen.push([packet.topic.replace(broker.id, 'ID'), client?.id]))
    const client = await join({ clientId: 'd', will: { topic: 'gone' } })
    const gone = next(broker, 'clientDisconnect')
    await client.drop()
    await gone
    expect(seen).toEqual([
      ['$SYS/ID/new/clients', undefined],
      ['gone', undefined],
      ['$SYS/ID/disconnect/clients', undefined],
    ])
  })

  test('unsubscribe tells what a session that ends with its connection had; one that stays had nothing end', async () => {
    const { broker, join } = await embed()
    const told: unknown[] = []
    broker.on('unsubscribe', (topics, client) => told.push([client.id, topics]))
    for (const clean of [true, false]) {
      const client = await join({ clientId: `clean ${clean}`, clean })
      await client.subscribe(['a', 0], ['b', 0])
      const gone = next(broker, 'clientDisconnect')
      await client.disconnect()
      await gone
    }
    expect(told).toEqual([['clean true', ['a', 'b']]])
  })

  test('connectionError before CONNECT was accepted, clientError after; clientError before clientDisconnect', async () => {
    const { broker, join, open } = await embed()
    const told: unknown[] = []
    broker.on('connectionError', (client, error) => told.push(['connectionError', client.id, error.message]))
    broker.on('clientError', (client, error) => told.push(['clientError', client.id, error.message]))
    broker.on('clientDisconnect', (client) => told.push(['clientDisconnect', client.id]))
    const early = await open()
    early.send(Buffer.from([0xc0, 0]))
    await early.expectClosed()
    const late = await join({ clientId: 'd' })
    late.startPublish({ topic: 'a/#' })
    await late.expectClosed()
    expect(told).toEqual([
      ['connectionError', null, 'Invalid protocol'],
      ['clientError', 'd', '# is not allowed in PUBLISH'],
      ['clientDisconnect', 'd'],
    ])
  })

  test('a listener that throws harms neither the client nor the broker; it is reported as error', async () => {
    const { broker, join } = await embed()
    const errors: string[] = []
    broker.on('error' as never, ((error: Error) => errors.push(error.message)) as never)
    for (const event of ['client', 'clientReady', 'subscribe', 'publish', 'clientDisconnect', 'connackSent'])
      broker.on(event as never, () => {
        throw new Error(event)
      })
    const client = await join({ clientId: 'd', clean: false })
    await client.subscribe(['t', 1])
    await client.publish({ topic: 't', payload: 'x', qos: 1 })
    await client.receive()
    await client.disconnect()
    await expect.poll(() => errors).toContain('clientDisconnect')
    expect([...new Set(errors)].sort()).toEqual([
      'client',
      'clientDisconnect',
      'clientReady',
      'connackSent',
      'publish',
      'subscribe',
    ])
  })

  test('clientReady comes before the first packet after CONNECT is handled', async () => {
    const { broker, open } = await embed()
    const order: string[] = []
    broker.on('clientReady', (client) => order.push(`ready ${client.connected}`))
    broker.authorizePublish = (_client, packet, done) => {
      order.push(packet.topic)
      done()
    }
    const client = await open()
    const publish = Buffer.from([0x30, 3, 0, 1, 0x74])
    client.send(Buffer.concat([encodeRawConnect({ clientId: 'd' }), publish]))
    await client.expect('connack')
    await client.ping()
    expect(order).toEqual(['ready true', 't'])
  })
})

describe('a client', () => {
  test('its methods answer as packets do when a messageId is given', async () => {
    const { broker, join } = await embed()
    const ready = next(broker, 'clientReady')
    const client = await join({ clientId: 'd' })
    const [shown] = (await ready) as [Client]
    const done = (call: (done: (error?: Error) => void) => void): Promise<Error | undefined> => new Promise(call)
    await done((cb) => shown.subscribe({ subscriptions: [{ topic: 'a', qos: 1 }], messageId: 7 }, cb))
    expect(await client.expect('suback')).toMatchObject({ packetId: 7, codes: [1] })
    expect(shown.subscriptions['a']).toMatchObject({ qos: 1 })
    await done((cb) => shown.unsubscribe({ unsubscriptions: ['a'], messageId: 8 }, cb))
    expect(await client.expect('unsuback')).toMatchObject({ packetId: 8 })
    expect(await done((cb) => shown.subscribe({ topic: 'a#', qos: 0 }, cb))).toMatchObject({
      code: 'topic_filter_invalid',
    })
    await done((cb) => shown.publish({ topic: 'direct', payload: 'x', qos: 1 }, cb))
    expect((await client.receive()).topic).toBe('direct')
  })

  test('that the program subscribes in the client event gets retained messages too, after CONNACK', async () => {
    const { broker, open } = await embed()
    await new Promise((resolve) =>
      broker.publish({ topic: 'r', payload: 'x', retain: true } as never, resolve as never),
    )
    broker.on('client', (client) => client.subscribe({ topic: 'r', qos: 0 }))
    const client = await open()
    await client.connect({ clientId: 'd' })
    expect(await client.receive()).toMatchObject({ topic: 'r', retain: true })
  })

  test('of MQTT 3 that connects as a bridge gets nothing back, and RETAIN as it was published', async () => {
    const { open, join } = await embed()
    const bridge = await open()
    const connect = encodeRawConnect({ clientId: 'bridge' })
    connect[8]! |= 0x80
    bridge.send(connect)
    await bridge.expect('connack')
    await bridge.subscribe(['t/#', 1])
    await bridge.publish({ topic: 't/own', payload: 'x', qos: 1 })
    const other = await join({ clientId: 'other' })
    await other.publish({ topic: 't/theirs', payload: 'y', qos: 1, retain: true })
    expect(await bridge.receive()).toMatchObject({ topic: 't/theirs', retain: true })
    await bridge.expectNothing(50, 'publish')
  })
})

describe('the broker', () => {
  test('publish calls back when its subscribers are done with the message', async () => {
    const { broker } = await embed()
    let finish: () => void = () => {}
    const order: string[] = []
    await new Promise<void>((resolve) =>
      broker.subscribe(
        't',
        (_packet, done) => {
          finish = done
        },
        resolve,
      ),
    )
    const published = new Promise<void>((resolve) =>
      broker.publish({ topic: 't', payload: 'x' } as never, () => {
        order.push('published')
        resolve()
      }),
    )
    order.push('subscriber done')
    finish()
    await published
    expect(order).toEqual(['subscriber done', 'published'])
  })

  test('close ends clients and those that are still connecting, and calls back', async () => {
    const { broker, join, open, stop } = await embed()
    const client = await join({ clientId: 'd' })
    broker.authenticate = () => {}
    const waiting = await open()
    waiting.send(encodeRawConnect({ clientId: 'e' }))
    const silent = await open()
    await client.ping()
    await stop()
    await Promise.all([client.closed, waiting.closed, silent.closed])
    expect([broker.closed, broker.connectedClients]).toEqual([true, 0])
  })

  test('shows no hook to a message when there is none, and one again after all listeners were removed', async () => {
    const { broker, join } = await embed()
    broker.on('publish', () => {})
    broker.removeAllListeners()
    expect(broker.core.hooks.published).toBeNull()
    const seen = next(broker, 'publish')
    const client = await join({ clientId: 'd' })
    await client.publish({ topic: 't', payload: 'x' })
    expect(((await seen)[0] as AedesPacket).topic).toContain('new/clients')
  })
})
