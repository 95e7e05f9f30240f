/** Enhanced authentication ([v5 4.12]) and SCRAM-SHA-256, spoken in bytes. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { AuthenticationMethod, AuthenticationStep } from '../../../src/authenticator.ts'
import { configSchema } from '../../../src/config/schema.ts'
import { createBroker } from '../../../src/embed.ts'
import { SluiceError } from '../../../src/errors.ts'
import { Events } from '../../../src/telemetry/events.ts'
import { RawClient } from '../../support/raw-client.ts'
import { encodeRawProperties, encodeRawPublish, frame, pingreq, type RawProperties } from '../../support/raw-packets.ts'
import { ScramClient, scramUser } from '../../support/scram-client.ts'
import { serve } from '../../support/spread.ts'

const SCRAM = 'SCRAM-SHA-256'
const CONTINUE = 0x18
const RE_AUTHENTICATE = 0x19

/** The client sends its own decisions: "continue …", "user …", "refuse", "throw", "away", and "later …" for any of them. */
const puppet: AuthenticationMethod = {
  name: 'PUPPET',
  start: ({ clientId }) => {
    if (clientId === 'throws-at-start') throw new Error('a bug in start')
    const decide = (text: string): AuthenticationStep => {
      const [word, ...rest] = text.split(' ')
      const data = rest.length === 0 ? null : Buffer.from(rest.join(' '))
      if (word === 'continue') return { kind: 'continue', data }
      if (word === 'user') return { kind: 'success', userName: rest.join(' '), data: Buffer.from('welcome') }
      if (word === 'throw') throw new Error('a bug in step')
      if (word === 'away') throw new SluiceError('server_unavailable', 'the directory does not answer')
      return { kind: 'refused', reason: 'told to refuse' }
    }
    return {
      step: (data) => {
        const text = data?.toString() ?? 'continue'
        if (!text.startsWith('later ')) return decide(text)
        return new Promise((resolve) => setTimeout(resolve, 20)).then(() => decide(text.slice(6)))
      },
    }
  },
}

const events = new Events()
let target: { host: string; port: number }
let strict: { host: string; port: number }
/** Waits only so long for the end of an exchange. */
let hasty: { host: string; port: number }
const HASTY_MS = 500
let stop: (() => Promise<void>)[] = []
const clients: RawClient[] = []

async function start(overrides: object) {
  const users = { alice: scramUser('pencil', 'salt-of-alice'), bob: scramUser('secret', 'salt-of-bobby') }
  const config = configSchema.parse({
    store: 'memory',
    log: { level: 'silent' },
    authentication: { scram: { users } },
    ...overrides,
  })
  const broker = await createBroker({ config, events, authenticationMethods: [puppet] })
  const server = await serve((socket) => void broker.handle(socket))
  stop.push(async () => {
    await new Promise<void>((resolve) => broker.close(resolve))
    await server.close()
  })
  return server.address
}

beforeAll(async () => {
  target = await start({ allowAnonymous: true })
  strict = await start({})
  hasty = await start({ allowAnonymous: true, limits: { connectTimeoutMs: HASTY_MS } })
})
afterEach(() => {
  for (const client of clients.splice(0)) if (!client.isClosed) client.reset()
})
afterAll(async () => {
  await Promise.all(stop.map((fn) => fn()))
  stop = []
})

const auth = (code: number, properties?: RawProperties): Buffer =>
  frame(15, 0, Buffer.from([code]), encodeRawProperties(properties))

const authOf = (code: number, method: string, data?: string | Buffer): Buffer =>
  auth(code, {
    authenticationMethod: method,
    ...(data === undefined ? {} : { authenticationData: Buffer.from(data as string) }),
  })

async function open(at = target): Promise<RawClient> {
  const client = await RawClient.open(at)
  clients.push(client)
  return client
}

/** Sends CONNECT with the method and data; what the broker answers is left to the test. */
async function connecting(
  method: string,
  data: string | Buffer | null,
  options: object = {},
  at = target,
): Promise<RawClient> {
  const client = await open(at)
  const authenticationData = data === null ? {} : { authenticationData: Buffer.from(data as string) }
  const properties = { authenticationMethod: method, ...authenticationData }
  client.connect({ version: 5, clientId: `auth-${clients.length}`, properties, ...options }).catch(() => {})
  return client
}

/** Connected as a user of the puppet. */
async function puppetUser(name = 'ann', at = target): Promise<RawClient> {
  const client = await open(at)
  const properties = { authenticationMethod: 'PUPPET', authenticationData: Buffer.from(`user ${name}`) }
  expect((await client.connect({ version: 5, clientId: `puppet-${name}`, properties })).code).toBe(0)
  return client
}

describe('SCRAM-SHA-256', () => {
  async function converse(client: RawClient, scram: ScramClient, change = {}): Promise<void> {
    const challenge = await client.expectNext('auth')
    expect(challenge.code).toBe(CONTINUE)
    expect(challenge.properties['authenticationMethod']).toBe(SCRAM)
    const final = scram.final(challenge.properties['authenticationData'] as Buffer, change)
    client.send(authOf(CONTINUE, SCRAM, final))
  }
  const begin = async (scram: ScramClient, options: object = {}) => {
    const client = await open()
    const properties = { authenticationMethod: SCRAM, authenticationData: scram.first }
    const connack = client.connect({ version: 5, clientId: 'scram', properties, ...options })
    connack.catch(() => {})
    return { client, connack }
  }

  test('lets the user in and proves the server in CONNACK [v5 MQTT-4.12.0-2, -3, -5]', async () => {
    const scram = new ScramClient('alice', 'pencil')
    const { client, connack } = await begin(scram)
    await converse(client, scram)
    expect(await connack).toMatchObject({ code: 0, properties: { authenticationMethod: SCRAM } })
    expect(String((await connack).properties['authenticationData'])).toBe(scram.serverFinal)
    await client.subscribe('scram/x')
    await client.publish({ topic: 'scram/x', payload: 'in', qos: 1 })
    expect((await client.receive()).payload.toString()).toBe('in')
  })

  test('AUTH has the method and its data and nothing else, and is never larger than the client takes [v5 MQTT-3.15.2-2, -3] [v5 MQTT-3.1.2-24]', async () => {
    const scram = new ScramClient('alice', 'pencil')
    const { client } = await begin(scram)
    const { properties } = await client.expectNext('auth')
    expect(Object.keys(properties).sort()).toEqual(['authenticationData', 'authenticationMethod'])
    const narrow = await open()
    const small = { authenticationMethod: SCRAM, authenticationData: scram.first, maximumPacketSize: 30 }
    narrow.connect({ version: 5, clientId: 'narrow', properties: small }).catch(() => {})
    await narrow.expectClosed()
    expect(narrow.takeAll('auth')).toEqual([])
    expect(narrow.bytesReceived).toBeLessThanOrEqual(30)
  })

  test.each([
    ['a wrong password', 'alice', 'pencils', {}],
    ['an unknown user', 'mallory', 'pencil', {}],
    ['a nonce that was tampered with', 'alice', 'pencil', { nonce: 'fyko+d2lbbFgONRv9qkxdawLAAAA' }],
    ['a channel binding that was tampered with', 'alice', 'pencil', { binding: 'eSws' }],
  ])('%s ends with 0x87, after the same conversation [v5 MQTT-4.12.0-4]', async (_what, user, password, change) => {
    const refused = new Promise<{ reason: string }>((resolve) => events.on('connectionRefused', resolve))
    const scram = new ScramClient(user, password)
    const { client, connack } = await begin(scram)
    await converse(client, scram, change)
    expect(await connack).toMatchObject({ code: 0x87, sessionPresent: false, properties: {} })
    await client.expectClosed()
    expect((await refused).reason).toMatch(/^authentication failed: /)
  })

  test('a malformed first message ends with 0x87', async () => {
    const client = await open()
    const properties = { authenticationMethod: SCRAM, authenticationData: Buffer.from('hello') }
    expect(await client.connect({ version: 5, clientId: 'scram', properties })).toMatchObject({ code: 0x87 })
    await client.expectClosed()
  })

  test('the user that was proven, not the User Name that was claimed, is the origin of messages', async () => {
    const scram = new ScramClient('alice', 'pencil')
    const connected = new Promise<{ userName: string | null }>((resolve) => events.on('clientConnected', resolve))
    const { client, connack } = await begin(scram, { userName: 'admin' })
    await converse(client, scram)
    await connack
    expect((await connected).userName).toBe('alice')
  })

  test('re-authentication goes the same way and ends with AUTH 0x00 [v5 MQTT-4.12.1-1]', async () => {
    const scram = new ScramClient('alice', 'pencil')
    const { client, connack } = await begin(scram)
    await converse(client, scram)
    await connack
    const again = new ScramClient('alice', 'pencil', 'another-nonce')
    client.send(authOf(RE_AUTHENTICATE, SCRAM, again.first))
    await converse(client, again)
    const success = await client.expectNext('auth')
    expect(success).toMatchObject({ code: 0, properties: { authenticationMethod: SCRAM } })
    expect(String(success.properties['authenticationData'])).toBe(again.serverFinal)
    await client.ping()
  })

  test('re-authentication with a wrong password ends with DISCONNECT 0x87 [v5 MQTT-4.12.1-2]', async () => {
    const scram = new ScramClient('alice', 'pencil')
    const { client, connack } = await begin(scram)
    await converse(client, scram)
    await connack
    const again = new ScramClient('alice', 'wrong')
    client.send(authOf(RE_AUTHENTICATE, SCRAM, again.first))
    await converse(client, again)
    expect((await client.expectNext('disconnect')).code).toBe(0x87)
    await client.expectClosed()
  })
})

describe('once users are named', () => {
  test('a client without a method is refused: 0x87, return code 5', async () => {
    const five = await RawClient.open(strict)
    expect((await five.connect({ version: 5, clientId: 'anonymous', userName: 'alice' })).code).toBe(0x87)
    await five.expectClosed()
    const four = await RawClient.open(strict)
    expect((await four.connect({ clientId: 'anonymous' })).code).toBe(5)
    await four.expectClosed()
  })

  test('it is let in where allowAnonymous says so, and never sent AUTH [v5 MQTT-4.12.0-6]', async () => {
    const client = await open()
    const connack = await client.connect({ version: 5, clientId: 'anonymous' })
    expect(connack.code).toBe(0)
    expect(connack.properties['authenticationMethod']).toBeUndefined()
    client.send(authOf(RE_AUTHENTICATE, SCRAM))
    expect((await client.expectNext('disconnect')).code).toBe(0x82)
    await client.expectClosed()
  })
})

describe('methods', () => {
  test('a method the broker does not have: 0x8C [v5 MQTT-4.12.0-1]', async () => {
    const client = await open()
    const properties = { authenticationMethod: 'SCRAM-SHA-1', authenticationData: Buffer.from('x') }
    expect((await client.connect({ version: 5, clientId: 'unknown', properties })).code).toBe(0x8c)
    await client.expectClosed()
  })

  test('Authentication Data without a method is a protocol error [v5 3.1.2.11.10]', async () => {
    const client = await open()
    const properties = { authenticationData: Buffer.from('x') }
    expect((await client.connect({ version: 5, clientId: 'data', properties })).code).toBe(0x82)
    await client.expectClosed()
  })

  test('an exchange of several steps, decided later, with data and without [v5 MQTT-4.12.0-2, -3]', async () => {
    const client = await connecting('PUPPET', null)
    expect(await client.expectNext('auth')).toMatchObject({ code: CONTINUE })
    client.send(authOf(CONTINUE, 'PUPPET', 'later continue one more'))
    const second = await client.expectNext('auth')
    expect(String(second.properties['authenticationData'])).toBe('one more')
    client.send(authOf(CONTINUE, 'PUPPET', 'later user ann'))
    expect(await client.subscribe('x')).toMatchObject({ codes: [0] })
  })

  test('CONNECT, AUTH and the packets after CONNACK may come in one segment while the method decides', async () => {
    const client = await open()
    const properties = { authenticationMethod: 'PUPPET', authenticationData: Buffer.from('later user ann') }
    const connack = client.connect({ version: 5, clientId: 'eager', properties })
    client.send(encodeRawPublish({ topic: 'eager', payload: 'x', qos: 1, packetId: 7 }, 5), pingreq)
    expect((await connack).code).toBe(0)
    expect((await client.expectNext('puback')).packetId).toBe(7)
    await client.expectNext('pingresp')
  })

  test('only AUTH and DISCONNECT are welcome before CONNACK [v5 MQTT-3.1.2-30]', async () => {
    for (const packet of [pingreq, encodeRawPublish({ topic: 'a' }, 5), frame(1, 0)]) {
      const client = await connecting('PUPPET', 'continue')
      await client.expect('auth')
      client.send(packet)
      await client.expectClosed()
    }
    const leaving = await connecting('PUPPET', 'continue')
    await leaving.expect('auth')
    leaving.send(frame(14, 0))
    await leaving.expectClosed()
    expect(leaving.takeAll('connack')).toEqual([])
  })

  test('AUTH with flags, with a reason code of the server, and without a method is wrong', async () => {
    const wrong: [Buffer, number][] = [
      [frame(15, 1, Buffer.from([CONTINUE]), encodeRawProperties({ authenticationMethod: 'PUPPET' })), 0x81],
      [authOf(0x00, 'PUPPET', 'user ann'), 0x82],
      [auth(CONTINUE), 0x82],
      [frame(15, 0), 0x82],
    ]
    for (const [packet, code] of wrong) {
      const client = await open()
      const properties = { authenticationMethod: 'PUPPET', authenticationData: Buffer.from('continue') }
      const connack = client.connect({ version: 5, clientId: 'wrong', properties })
      await client.expectNext('auth')
      client.send(packet)
      expect((await connack).code).toBe(code)
      await client.expectClosed()
    }
  })

  test('re-authentication before CONNACK is a protocol error [v5 MQTT-4.12.1-1]', async () => {
    const client = await open()
    const properties = { authenticationMethod: 'PUPPET', authenticationData: Buffer.from('continue') }
    const connack = client.connect({ version: 5, clientId: 'early', properties })
    await client.expectNext('auth')
    client.send(authOf(RE_AUTHENTICATE, 'PUPPET', 'user ann'))
    expect((await connack).code).toBe(0x82)
    await client.expectClosed()
  })

  test('the method may not change, neither on the way nor later [v5 MQTT-4.12.0-5] [v5 MQTT-4.12.1-1]', async () => {
    const client = await open()
    const properties = { authenticationMethod: 'PUPPET', authenticationData: Buffer.from('continue') }
    const connack = client.connect({ version: 5, clientId: 'change', properties })
    await client.expectNext('auth')
    client.send(authOf(CONTINUE, 'puppet', 'user ann'))
    expect((await connack).code).toBe(0x82)
    const later = await puppetUser()
    later.send(authOf(RE_AUTHENTICATE, SCRAM, 'n,,n=alice,r=x'))
    expect((await later.expectNext('disconnect')).code).toBe(0x82)
    await Promise.all([client.expectClosed(), later.expectClosed()])
  })

  test.each([
    ['refuse', 0x87],
    ['later refuse', 0x87],
    ['throw', 0x80],
    ['later throw', 0x80],
    ['away', 0x88],
    ['later away', 0x88],
  ])('a method that answers "%s" refuses the client: reason code %i', async (answer, code) => {
    const client = await open()
    const properties = { authenticationMethod: 'PUPPET', authenticationData: Buffer.from(answer) }
    expect(await client.connect({ version: 5, clientId: 'no', properties })).toMatchObject({ code })
    await client.expectClosed()
  })

  test('a method that throws at the start refuses the client', async () => {
    const client = await open()
    const properties = { authenticationMethod: 'PUPPET' }
    expect((await client.connect({ version: 5, clientId: 'throws-at-start', properties })).code).toBe(0x80)
    await client.expectClosed()
  })

  test('a refused client leaves no session behind, and takes none over', async () => {
    const first = await puppetUser('owner')
    const client = await open()
    const properties = { authenticationMethod: 'PUPPET', authenticationData: Buffer.from('later refuse') }
    expect((await client.connect({ version: 5, clientId: 'puppet-owner', properties })).code).toBe(0x87)
    await first.ping()
  })

  test('a client that is gone before the decision leaves nothing behind', async () => {
    const client = await connecting('PUPPET', 'later user ann', { clientId: 'gone' })
    client.reset()
    await client.closed
    await new Promise((resolve) => setTimeout(resolve, 40))
    const again = await open()
    const properties = { authenticationMethod: 'PUPPET', authenticationData: Buffer.from('user ann') }
    const connack = await again.connect({ version: 5, clientId: 'gone', clean: false, properties })
    expect(connack).toMatchObject({ code: 0, sessionPresent: false })
  })
})

describe('time', () => {
  test('an exchange that is not finished within limits.connectTimeoutMs ends, however busy the client is', async () => {
    const client = await connecting('PUPPET', 'continue', {}, hasty)
    await client.expectNext('auth')
    const beat = setInterval(() => client.send(authOf(CONTINUE, 'PUPPET', 'continue')), 50)
    await client.expectClosed(2000).finally(() => clearInterval(beat))
  })

  test('a re-authentication that is not finished in time ends the connection with 0x87', async () => {
    const client = await puppetUser('ann', hasty)
    client.send(authOf(RE_AUTHENTICATE, 'PUPPET', 'continue'))
    await client.expectNext('auth')
    expect((await client.expectNext('disconnect')).code).toBe(0x87)
    await client.expectClosed()
  })

  test('one that is finished lets the connection stand', async () => {
    const client = await puppetUser('ann', hasty)
    client.send(authOf(RE_AUTHENTICATE, 'PUPPET', 'user ann'))
    expect((await client.expectNext('auth')).code).toBe(0)
    await client.expectNothing(HASTY_MS + 200)
    await client.ping()
  })

  test('a CONNECT that comes byte by byte has limits.connectTimeoutMs for all of it', async () => {
    const client = await open(hasty)
    client.send(Buffer.from([0x10, 100]))
    const beat = setInterval(() => client.send(Buffer.from([0])), 50)
    await client.expectClosed(2500).finally(() => clearInterval(beat))
  })
})

describe('re-authentication', () => {
  test('other packets go on meanwhile ([v5 4.12.1])', async () => {
    const client = await puppetUser()
    client.send(authOf(RE_AUTHENTICATE, 'PUPPET', 'later continue more'))
    await client.ping()
    expect((await client.expectNext('auth')).code).toBe(CONTINUE)
    await client.publish({ topic: 'meanwhile', payload: 'x', qos: 2 })
    client.send(authOf(CONTINUE, 'PUPPET', 'user ann'))
    expect((await client.expectNext('auth')).code).toBe(0)
  })

  test('as another user it is refused', async () => {
    const client = await puppetUser()
    client.send(authOf(RE_AUTHENTICATE, 'PUPPET', 'user eve'))
    expect((await client.expectNext('disconnect')).code).toBe(0x87)
    await client.expectClosed()
  })

  test('AUTH that nobody asked for, and a second one while the first is decided, are protocol errors', async () => {
    const unasked = await puppetUser()
    unasked.send(authOf(CONTINUE, 'PUPPET', 'user ann'))
    expect((await unasked.expectNext('disconnect')).code).toBe(0x82)
    const twice = await puppetUser('bob')
    twice.send(authOf(RE_AUTHENTICATE, 'PUPPET', 'later user bob'), authOf(RE_AUTHENTICATE, 'PUPPET', 'user bob'))
    expect((await twice.expectNext('disconnect')).code).toBe(0x82)
    await Promise.all([unasked.expectClosed(), twice.expectClosed()])
  })

  test('a method that fails ends the connection with its reason code, or 0x80', async () => {
    const client = await puppetUser()
    client.send(authOf(RE_AUTHENTICATE, 'PUPPET', 'later throw'))
    expect((await client.expectNext('disconnect')).code).toBe(0x80)
    await client.expectClosed()
  })

  test('MQTT 3.1.1 has no AUTH', async () => {
    const client = await open()
    await client.connect({ clientId: 'three' })
    client.send(authOf(RE_AUTHENTICATE, 'PUPPET', 'user ann'))
    await client.expectClosed()
  })
})

test('AUTH larger than the Maximum Packet Size of the client is not sent [v5 MQTT-3.1.2-24]', async () => {
  const client = await open()
  const properties = {
    authenticationMethod: 'PUPPET',
    authenticationData: Buffer.from(`continue ${'x'.repeat(100)}`),
    maximumPacketSize: 60,
  }
  expect((await client.connect({ version: 5, clientId: 'small', properties })).code).toBe(0x95)
  await client.expectClosed()
})
