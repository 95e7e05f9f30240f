/** The broker that a file of conformance tests speaks to, and short ways to begin a conversation with it. */
import { afterAll, afterEach, beforeAll } from 'vitest'
import type { ConfigInput } from '../../../src/config/schema.ts'
import { type InlineBroker, startBroker } from '../../support/broker-inline.ts'
import { RawClient } from '../../support/raw-client.ts'
import { encodeRawConnect, type RawConnect, type Version } from '../../support/raw-packets.ts'

/** What the broker did about a connection it ended. */
export interface Ending {
  /** Reason code of the DISCONNECT; null: it closed without a word. */
  reasonCode: number | null
}

/** What the broker did about a CONNECT it did not accept. */
export interface Refusal {
  /** Return or reason code of the CONNACK; null: there was none. */
  code: number | null
}

/** One broker in this process for all tests of a file; connections are closed after each test. */
export class Subject {
  readonly #config: ConfigInput
  #broker: InlineBroker | null = null
  #clients: RawClient[] = []

  constructor(config: ConfigInput) {
    this.#config = config
  }

  get broker(): InlineBroker {
    return this.#broker!
  }

  async start(): Promise<void> {
    this.#broker = await startBroker(this.#config)
  }

  async stop(): Promise<void> {
    await this.#broker?.stop()
  }

  /** Closes what the test left open. */
  async hangUp(): Promise<void> {
    const clients = this.#clients
    this.#clients = []
    await Promise.all(clients.map((client) => client.drop()))
  }

  /** A network connection that said nothing yet. */
  async dial(webSocket = false): Promise<RawClient> {
    const client = await RawClient.open(webSocket ? this.broker.ws : this.broker.mqtt)
    this.#clients.push(client)
    return client
  }

  /** A connection that was accepted; the Client Identifier is assigned unless one is given. */
  async connect(version: Version, options: Omit<RawConnect, 'version'> = {}): Promise<RawClient> {
    const client = await this.dial()
    const connack = await client.connect({ version, ...options })
    if (connack.code !== 0) throw new Error(`CONNECT was refused with ${connack.code}`)
    return client
  }

  /** A subscriber that acknowledges by itself only when told so. */
  async subscriber(version: Version, topicFilter: string, options = 0): Promise<RawClient> {
    const client = await this.connect(version)
    await client.subscribe([topicFilter, options])
    return client
  }

  /** Leaves a persistent session with these subscriptions behind. */
  async leaveSession(version: Version, clientId: string, ...filters: [string, number][]): Promise<void> {
    const client = await this.connect(version, persistent(version, clientId))
    if (filters.length > 0) await client.subscribe(...filters)
    await client.disconnect()
  }

  /** Says something on a connection that stands; fails unless the broker ends it. */
  async provoke(version: Version, ...bytes: Buffer[]): Promise<Ending> {
    const client = await this.connect(version)
    client.send(...bytes)
    return ending(client)
  }

  /** Says something instead of, or as, CONNECT; fails unless the broker ends the connection. */
  async refused(connect: Buffer | RawConnect): Promise<Refusal> {
    const client = await this.dial()
    client.send(Buffer.isBuffer(connect) ? connect : encodeRawConnect(connect))
    await client.expectClosed()
    const connacks = client.takeAll('connack')
    await client.expectNothing(0)
    return { code: connacks[0]?.code ?? null }
  }
}

/** Waits until the broker ends the connection; in MQTT 5 a DISCONNECT may come first, and nothing after it. */
export async function ending(client: RawClient): Promise<Ending> {
  await client.expectClosed()
  const said = client.takeAll('disconnect')
  if (said.length > 1) throw new Error('the broker sent DISCONNECT twice')
  return { reasonCode: said[0]?.code ?? null }
}

/** CONNECT options of a session that outlives its connection. */
export function persistent(version: Version, clientId: string): Omit<RawConnect, 'version'> {
  const session = { clientId, clean: false }
  return version === 5 ? { ...session, properties: { sessionExpiryInterval: 300 } } : session
}

/** Starts a broker for the file that calls this. */
export function brokerUnderTest(config: ConfigInput = {}): Subject {
  const subject = new Subject(config)
  beforeAll(() => subject.start())
  afterEach(() => subject.hangUp())
  afterAll(() => subject.stop())
  return subject
}
