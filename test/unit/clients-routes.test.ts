/** What the API tells about clients, and that what is sent to a client is delivered, queued or dropped by a named cause. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { ClientInfo } from '../../src/admin/client-info.ts'
import { type InlineBroker, startBroker } from '../support/broker-inline.ts'
import { RawClient } from '../support/raw-client.ts'
import { encodeRawPublish } from '../support/raw-packets.ts'
import { metricsOf, nodesOfTests } from '../support/spread.ts'

let broker: InlineBroker
const clients: RawClient[] = []
beforeAll(async () => {
  broker = await startBroker({ limits: { sessionQueuedMessagesMax: 5, outboundBytesMax: 65_536, inflightMax: 2 } })
})
afterEach(() => {
  for (const client of clients.splice(0)) client.reset()
})
afterAll(() => broker.stop())

async function open(options: Parameters<typeof RawClient.connected>[1]): Promise<RawClient> {
  const client = await RawClient.connected(broker.mqtt, options)
  clients.push(client)
  return client
}

interface Answer extends ClientInfo {
  clients: ClientInfo[]
  next: string | null
  slowReaders: ClientInfo[]
}
const get = async (path: string): Promise<Answer> =>
  (await (await fetch(`${broker.http}/api/v1/${path}`)).json()) as Answer
const info = async (clientId: string) => (await get(`clients/${encodeURIComponent(clientId)}`)) as ClientInfo

describe('GET /api/v1/clients', () => {
  test('pages through all clients once, in the order of their sessions', async () => {
    for (let i = 0; i < 7; i++) await open({ clientId: `page-${i}` })
    const seen: string[] = []
    let after = '0'
    for (let pages = 1; ; pages++) {
      const { clients, next } = await get(`clients?limit=3&after=${after}&connected=true`)
      seen.push(...clients.map((client: ClientInfo) => client.clientId))
      if (next === null) break
      after = next
      expect(pages).toBeLessThan(10)
    }
    const paged = seen.filter((id) => id.startsWith('page-'))
    // Of several nodes, those that one serves come first.
    if (nodesOfTests > 1) paged.sort()
    expect(paged).toEqual([0, 1, 2, 3, 4, 5, 6].map((i) => `page-${i}`))
  })

  test('tells who a client is, what waits for it and since when it is away', async () => {
    const client = await open({ clientId: 'facts ☂/é', clean: false, keepAliveSeconds: 30 })
    await client.subscribe(['facts', 1])
    expect(await info('facts ☂/é')).toMatchObject({
      clientId: 'facts ☂/é',
      connected: true,
      address: '127.0.0.1',
      protocol: 'tcp',
      version: 4,
      keepAliveSeconds: 30,
      subscriptions: 1,
      queued: 0,
    })
    await client.disconnect()
    const publisher = await open({ clientId: 'facts-publisher' })
    await publisher.publish({ topic: 'facts', qos: 1, payload: 'x' })
    const away = await info('facts ☂/é')
    expect(away).toMatchObject({ connected: false, address: null, queued: 1, inflight: 0 })
    expect(Date.parse(away.disconnectedAt!)).toBeGreaterThan(Date.now() - 60_000)
  })

  test('answers 404 for a client that is not there and 400 for a page that is none', async () => {
    expect((await fetch(`${broker.http}/api/v1/clients/nobody`)).status).toBe(404)
    expect((await fetch(`${broker.http}/api/v1/clients?limit=0`)).status).toBe(400)
    expect((await fetch(`${broker.http}/api/v1/clients?limit=1001`)).status).toBe(400)
  })
})

test('DELETE /api/v1/clients/{id} closes the connection, ends the session and publishes the will', async () => {
  const watcher = await open({ clientId: 'delete-watcher' })
  await watcher.subscribe('delete/will')
  const will = { topic: 'delete/will', payload: 'gone', properties: { willDelayInterval: 1000 } }
  const client = await open({ clientId: 'delete-me', version: 5, properties: { sessionExpiryInterval: 1000 }, will })
  const answer = await fetch(`${broker.http}/api/v1/clients/delete-me`, { method: 'DELETE' })
  expect(answer.status).toBe(204)
  expect(await client.expect('disconnect')).toMatchObject({ code: 0x98 })
  expect((await watcher.expect('publish')).payload.toString()).toBe('gone')
  expect((await fetch(`${broker.http}/api/v1/clients/delete-me`)).status).toBe(404)
})

describe('to the message: sent = delivered + queued + dropped by cause', () => {
  test.each([
    { name: 'a clean session', clean: true },
    { name: 'a persistent session', clean: false },
  ])('QoS 1 and 2, $name', async ({ clean }) => {
    const id = `account-${clean}`
    const reader = await open({ clientId: id, clean })
    await reader.subscribe([`${id}/#`, 2])
    const publisher = await open({ clientId: `${id}-publisher` })
    for (let i = 0; i < 20; i++)
      await publisher.publish({ topic: `${id}/${i}`, qos: i % 2 === 0 ? 1 : 2, payload: 'x' })
    const before = await info(id)
    // The window holds 2, a clean session queues 5 beside them, a persistent one 5 with them.
    expect(before).toMatchObject({ inflight: 2, queued: clean ? 5 : 3 })
    expect(before.dropped.session_full).toBe(20 - before.inflight - before.queued)
    expect((await get('slow-readers')).slowReaders.map((client: ClientInfo) => client.clientId)).toContain(id)
    let delivered = 0
    reader.onPacket = (packet) => {
      if (packet.type === 'publish') delivered++
      return false
    }
    reader.autoAck = true
    await expect.poll(async () => (await info(id)).queued + (await info(id)).inflight).toBe(0)
    const first = 2
    expect(first + delivered + before.dropped.session_full).toBe(20)
  })

  test('QoS 0 to a client that is away, and to one that does not read', async () => {
    const away = await open({ clientId: 'away', clean: false })
    await away.subscribe('zero')
    await away.disconnect()
    const frozen = await open({ clientId: 'frozen' })
    await frozen.subscribe('zero')
    let received = 0
    frozen.onPacket = (packet) => packet.type === 'publish' && ++received > 0
    frozen.freeze()
    const publisher = await open({ clientId: 'zero-publisher' })
    const frame = encodeRawPublish({ topic: 'zero', payload: Buffer.alloc(50_000) })
    let total = 0
    const publish = async (): Promise<void> => {
      for (let i = 0; i < 400; i++, total++) if (!publisher.send(frame)) await publisher.drained()
      await publisher.ping()
    }
    const counted = async (cause: string): Promise<number> => {
      const counts = (await metricsOf(broker)).matchAll(/^sluicemq_messages_dropped_total\{cause="(\w+)"\} (\d+)$/gm)
      return [...counts].reduce((sum, [, of, count]) => sum + (of === cause ? Number(count) : 0), 0)
    }
    await publish()
    expect((await info('away')).dropped.offline).toBe(total)
    const slowest = async (): Promise<ClientInfo> => (await get('slow-readers')).slowReaders[0]!
    const inTime = { timeout: 10_000 }
    // Sockets on the way hold many megabytes, of a balancer in front of several nodes too: it is full when nothing moves any more.
    const isFull = async (): Promise<boolean> => {
      const { unsentBytes, stalledForMs } = (await slowest()) ?? { unsentBytes: 0, stalledForMs: 0 }
      if (unsentBytes === 0) await publish()
      return unsentBytes > 0 && stalledForMs >= 500
    }
    await expect.poll(isFull, inTime).toBe(true)
    expect((await slowest()).clientId).toBe('frozen')
    const dropped = async (): Promise<number> => (await info('frozen')).dropped.outbound_full
    await expect.poll(dropped, inTime).toBeGreaterThan(0)
    frozen.thaw()
    await expect
      .poll(async () => received + (await dropped()) + (await counted('node_unreachable')), inTime)
      .toBe(total)
    expect(await counted('outbound_full')).toBe(await dropped())
  })

  test('what waits for a session that ends', async () => {
    const reader = await open({ clientId: 'ending', clean: false })
    await reader.subscribe(['ending', 1])
    await reader.disconnect()
    const publisher = await open({ clientId: 'ending-publisher' })
    for (let i = 0; i < 3; i++) await publisher.publish({ topic: 'ending', qos: 1, payload: 'x' })
    const events: { cause: string; count: number }[] = []
    const off = broker.events.on('messageDropped', (event) => void events.push(event))
    await open({ clientId: 'ending', clean: true })
    await expect.poll(() => events).toContainEqual({ clientId: 'ending', cause: 'session_ended', count: 3 })
    off()
  })
})
