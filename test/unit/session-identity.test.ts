/** A session belongs to the user who was checked when it began. */
import type { AuthenticateError } from 'aedes'
import { afterEach, describe, expect, test } from 'vitest'
import { type EmbeddedBroker, embedBroker } from '../support/broker-inline.ts'
import { RawClient } from '../support/raw-client.ts'
import type { RawConnect } from '../support/raw-packets.ts'

let broker: EmbeddedBroker
afterEach(() => broker.stop())

/** Every client needs the password `pw`, but for those without a user name. */
async function start(config: Parameters<typeof embedBroker>[0] = {}): Promise<void> {
  broker = await embedBroker(config)
  authenticate()
}
function authenticate(): void {
  broker.aedes.authenticate = (_client, userName, password, done) =>
    userName === undefined || password?.toString() === 'pw'
      ? done(null, true)
      : done(new Error('no') as AuthenticateError, false)
}

const as = (userName: string, more: RawConnect = {}): RawConnect => ({
  clientId: 'shared-id',
  clean: false,
  userName,
  password: 'pw',
  ...more,
})

async function code(options: RawConnect): Promise<number> {
  const client = await RawClient.open(broker.mqtt)
  const { code } = await client.connect(options)
  client.reset()
  return code
}

describe('a client of another user with the same Client Identifier', () => {
  test.each([
    { what: 'resume a session', options: {} },
    { what: 'end it by a clean start', options: { clean: true } },
  ])('may not $what, and its owner still finds it', async ({ options }) => {
    await start()
    const alice = await RawClient.connected(broker.mqtt, as('alice'))
    await alice.subscribe(['secret', 1])
    await alice.disconnect()
    const publisher = await RawClient.connected(broker.mqtt, as('alice', { clientId: 'publisher' }))
    await publisher.publish({ topic: 'secret', qos: 1, payload: 'for alice' })
    expect(await code(as('mallory', options))).toBe(5)
    expect(await code(as('mallory', { ...options, version: 5 }))).toBe(0x87)
    const again = await RawClient.open(broker.mqtt)
    expect(await again.connect(as('alice'))).toMatchObject({ code: 0, sessionPresent: true })
    expect((await again.receive()).payload.toString()).toBe('for alice')
    await Promise.all([again.disconnect(), publisher.disconnect()])
  })

  test('may not take over the connection of the other', async () => {
    await start()
    const alice = await RawClient.connected(broker.mqtt, as('alice', { clean: true }))
    expect(await code(as('mallory'))).toBe(5)
    await alice.ping()
    await alice.disconnect()
    // The session ended with its connection: the identifier is free.
    await expect.poll(() => code(as('mallory'))).toBe(0)
  })

  test('is refused after a restart of the broker too', async () => {
    await start({ store: 'lmdb' })
    await (await RawClient.connected(broker.mqtt, as('alice'))).disconnect()
    await broker.restart()
    authenticate()
    expect(await code(as('mallory'))).toBe(5)
    expect(await code(as('alice'))).toBe(0)
  })

  test('is let in where mqtt.sessionsBelongToUsers is false', async () => {
    await start({ mqtt: { sessionsBelongToUsers: false } })
    await (await RawClient.connected(broker.mqtt, as('alice'))).disconnect()
    const bob = await RawClient.open(broker.mqtt)
    expect(await bob.connect(as('bob'))).toMatchObject({ code: 0, sessionPresent: true })
    await bob.disconnect()
  })
})

test('a session of nobody becomes that of the first user who was checked', async () => {
  broker = await embedBroker()
  await (await RawClient.connected(broker.mqtt, { clientId: 'shared-id', clean: false })).disconnect()
  authenticate()
  const alice = await RawClient.open(broker.mqtt)
  expect(await alice.connect(as('alice'))).toMatchObject({ code: 0, sessionPresent: true })
  await alice.disconnect()
  expect(await code(as('mallory'))).toBe(5)
})

test('where nobody is checked, a user name is only a claim and binds nothing', async () => {
  broker = await embedBroker()
  await (await RawClient.connected(broker.mqtt, as('alice'))).disconnect()
  const bob = await RawClient.open(broker.mqtt)
  expect(await bob.connect(as('bob'))).toMatchObject({ code: 0, sessionPresent: true })
  await bob.disconnect()
})
