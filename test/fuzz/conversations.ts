/**
 * What a well-behaved client says in one connection, from CONNECT on, as packets: the recordings that the fuzzer mutates.
 * They are made by a script with a seed, so that each has its own topics, sizes and choices; answers to the broker are
 * part of it, because in a new session its Packet Identifiers are known: 1, 2, 3 …
 */
import {
  encodeRawAck,
  encodeRawConnect,
  encodeRawDisconnect,
  encodeRawProperties,
  encodeRawPublish,
  encodeRawSubscribe,
  encodeRawUnsubscribe,
  frame,
  pingreq,
  type RawConnect,
  type RawProperties,
  type Version,
} from '../support/raw-packets.ts'
import { ScramClient } from '../support/scram-client.ts'
import type { SeededRandom } from '../support/seeded-random.ts'

export interface Conversation {
  readonly version: Version
  /** The first one is CONNECT. */
  readonly packets: readonly Buffer[]
}

/** The user that the SCRAM conversations know; the broker of a fuzz run is configured with it. */
export const scramUserName = 'fuzz'
export const scramPassword = 'fuzz'

/** Everything said is below this topic; `fuzz/queue` is bridged into a queue of that name. */
const root = 'fuzz'

/** Makes the conversation that belongs to this state of `random`. */
export function makeConversation(random: SeededRandom): Conversation {
  const version = random.pick([3, 4, 5, 5] as const)
  const script = new Script(version, random)
  const scenes: ((script: Script) => void)[] = [chat, chat, burst, persistent, retained, lastWill, sizes, shared]
  if (version === 5) scenes.push(properties, aliases, authentication, limits)
  random.pick(scenes)(script)
  script.end()
  return { version, packets: script.packets }
}

class Script {
  readonly packets: Buffer[] = []
  readonly version: Version
  readonly random: SeededRandom
  private packetId = 0

  constructor(version: Version, random: SeededRandom) {
    this.version = version
    this.random = random
  }
  connect(options: RawConnect = {}): void {
    const { random, version } = this
    const clientId = `f-${random.int(0, 999_999_999)}`
    const credentials = random.chance(0.2) ? { userName: 'user', password: 'secret' } : {}
    const some = version === 5 && random.chance(0.5) ? { sessionExpiryInterval: random.int(0, 3) } : {}
    const properties = { ...some, ...options.properties }
    this.packets.push(
      encodeRawConnect({
        clientId,
        keepAliveSeconds: random.pick([0, 5, 60]),
        ...credentials,
        ...options,
        version,
        properties,
      }),
    )
  }
  nextId(): number {
    this.packetId = (this.packetId % 65_535) + 1
    return this.packetId
  }
  subscribe(...filters: [topicFilter: string, options: number][]): void {
    const properties: RawProperties =
      this.version === 5 && this.random.chance(0.4) ? { subscriptionIdentifier: [this.random.int(1, 300)] } : {}
    const subscriptions = filters.map(([topicFilter, options]) => ({ topicFilter, options }))
    this.packets.push(encodeRawSubscribe(this.nextId(), subscriptions, this.version, properties))
  }
  unsubscribe(...filters: string[]): void {
    this.packets.push(encodeRawUnsubscribe(this.nextId(), filters, this.version))
  }
  /** PUBLISH, and PUBREL where it needs one. */
  publish(topic: string, payload: string | Buffer, qos = 0, retain = false, properties: RawProperties = {}): void {
    const packetId = qos > 0 ? this.nextId() : 0
    this.packets.push(encodeRawPublish({ topic, payload, qos, retain, packetId, properties }, this.version))
    if (qos === 2) this.packets.push(encodeRawAck('pubrel', packetId))
  }
  /** Answers to the broker's own PUBLISH packets. */
  acknowledge(count: number): void {
    for (let id = 1; id <= count; id++) {
      const kind = this.random.int(0, 2)
      const code = this.version === 5 && this.random.chance(0.3) ? this.random.pick([0, 0x10, 0x80, 0x97]) : undefined
      if (kind === 0) this.packets.push(encodeRawAck('puback', id, code))
      else this.packets.push(encodeRawAck('pubrec', id, code), encodeRawAck('pubcomp', id))
    }
  }
  ping(): void {
    this.packets.push(pingreq)
  }
  topic(): string {
    return `${root}/${this.random.pick(['a', 'b', 'c', 'queue', 'd/e', 'd//f', ''])}`
  }
  payload(): Buffer {
    return Buffer.alloc(this.random.pick([0, 1, 16, 100, 300]), this.random.int(0, 255))
  }
  qos(): number {
    return this.random.int(0, 2)
  }
  end(): void {
    const { random, version } = this
    if (random.chance(0.3)) this.ping()
    if (random.chance(0.4))
      this.packets.push(encodeRawDisconnect(version, version === 5 ? random.pick([0, 4]) : undefined))
  }
}

/** Subscribe, publish to oneself, answer. */
function chat(s: Script): void {
  s.connect()
  s.subscribe([s.topic(), s.qos()], [`${root}/+`, s.qos()])
  const count = s.random.int(2, 12)
  for (let i = 0; i < count; i++) s.publish(s.topic(), s.payload(), s.qos(), s.random.chance(0.1))
  s.acknowledge(s.random.int(0, 4))
  if (s.random.chance(0.5)) s.unsubscribe(`${root}/+`, `${root}/none`)
  s.ping()
}

/** Many equal packets side by side: the fast path of QoS 0. */
function burst(s: Script): void {
  s.connect()
  const topic = s.topic()
  s.subscribe([topic, 0])
  const payload = s.payload()
  const count = s.random.int(10, 40)
  for (let i = 0; i < count; i++) s.publish(s.random.chance(0.95) ? topic : s.topic(), payload)
  s.ping()
}

/** A session that outlives its connection; the same Client Identifiers come again and take each other over. */
function persistent(s: Script): void {
  const properties: RawProperties = s.version === 5 ? { sessionExpiryInterval: s.random.int(1, 3) } : {}
  s.connect({ clientId: `p-${s.random.int(0, 99)}`, clean: s.random.chance(0.2), properties })
  s.subscribe([`${root}/#`, s.random.int(1, 2)], [`${root}/+`, 1])
  for (let i = 0; i < 4; i++) s.publish(s.topic(), s.payload(), s.random.int(1, 2))
  s.acknowledge(6)
}

function retained(s: Script): void {
  s.connect()
  for (let i = 0; i < 5; i++)
    s.publish(`${root}/r/${s.random.int(0, 50)}`, s.random.chance(0.3) ? '' : s.payload(), s.qos(), true)
  const options = s.version === 5 ? s.random.pick([0, 4, 8, 16, 32, 12]) : 0
  s.subscribe([`${root}/r/#`, options | s.qos()], ['#', s.qos()], ['+/+/+', s.qos()])
  s.ping()
}

function lastWill(s: Script): void {
  const properties: RawProperties =
    s.version === 5 ? { willDelayInterval: s.random.int(0, 2), contentType: 'text', userProperty: [['k', 'v']] } : {}
  const will = { topic: s.topic(), payload: s.payload(), qos: s.qos(), retain: s.random.chance(0.3), properties }
  s.connect({ will, clientId: `w-${s.random.int(0, 99)}` })
  s.subscribe([`${root}/#`, s.qos()])
  s.publish(s.topic(), s.payload(), 1)
}

/** Long topics, identifiers and payloads, deep topics. */
function sizes(s: Script): void {
  const { random } = s
  s.connect({ clientId: 'L'.repeat(random.pick([1, 23, 500, 2000, 60_000])) })
  const long = `${root}/${'x'.repeat(random.pick([10, 500, 2000, 65_000]))}`
  const deep = root + '/y'.repeat(random.pick([2, 100, 126, 127, 128, 400]))
  s.subscribe([long, s.qos()], [deep, s.qos()], [`${root}/+${'/+'.repeat(random.int(1, 60))}`, s.qos()])
  s.publish(long, s.payload(), s.qos(), random.chance(0.2))
  s.publish(deep, s.payload(), s.qos(), random.chance(0.2))
  s.publish(s.topic(), Buffer.alloc(random.pick([1000, 9000, 70_000]), 7), s.qos())
  s.ping()
}

function shared(s: Script): void {
  s.connect()
  s.subscribe([`$share/g${s.random.int(0, 3)}/${root}/+`, s.qos()], ['$SYS/#', 0], ['$events/#', 1])
  for (let i = 0; i < 4; i++) s.publish(s.topic(), s.payload(), s.qos())
  s.acknowledge(4)
  s.unsubscribe('$SYS/#')
}

function properties(s: Script): void {
  const { random } = s
  s.connect({ properties: { requestResponseInformation: 1, requestProblemInformation: random.int(0, 1) } })
  s.subscribe([`${root}/#`, s.qos() | 4], [`${root}/+`, s.qos() | 8], ['+/a', s.qos() | 32])
  for (let i = 0; i < 5; i++) {
    const all: RawProperties = {
      payloadFormatIndicator: random.int(0, 1),
      messageExpiryInterval: random.int(0, 5),
      contentType: 'application/json',
      responseTopic: `${root}/response`,
      correlationData: Buffer.from('0123456789'),
      userProperty: [
        ['one', '1'],
        ['two', ''],
      ],
    }
    const some = Object.fromEntries(Object.entries(all).filter(() => random.chance(0.6)))
    s.publish(s.topic(), 'text', s.qos(), random.chance(0.2), some)
  }
  s.acknowledge(3)
}

function aliases(s: Script): void {
  s.connect({ properties: { topicAliasMaximum: s.random.int(0, 4) } })
  s.subscribe([`${root}/#`, 0])
  for (let alias = 1; alias <= 3; alias++) s.publish(s.topic(), 'named', s.qos(), false, { topicAlias: alias })
  for (let i = 0; i < 8; i++) s.publish('', 'aliased', s.qos(), false, { topicAlias: s.random.int(1, 3) })
  s.ping()
}

/** The second message of SCRAM depends on the broker's nonce, so it is refused; a re-authentication follows all the same. */
function authentication(s: Script): void {
  const scram = new ScramClient(s.random.chance(0.5) ? scramUserName : 'nobody', scramPassword)
  const method = { authenticationMethod: 'SCRAM-SHA-256' }
  const auth = (code: number, data: Buffer): Buffer =>
    frame(15, 0, Buffer.from([code]), encodeRawProperties({ ...method, authenticationData: data }))
  s.connect({ properties: { ...method, authenticationData: scram.first } })
  s.packets.push(auth(0x18, Buffer.from('c=biws,r=fyko+d2lbbFgONRv9qkxdawL,p=AAAA')))
  s.packets.push(auth(0x19, scram.first))
  s.publish(s.topic(), s.payload(), 1)
}

/** A client with narrow limits. */
function limits(s: Script): void {
  const maximumPacketSize = s.random.pick([20, 64, 200])
  s.connect({ properties: { receiveMaximum: s.random.int(1, 3), maximumPacketSize, sessionExpiryInterval: 1 } })
  s.subscribe([`${root}/#`, 2])
  for (let i = 0; i < 8; i++) s.publish(s.topic(), s.payload(), s.random.int(1, 2))
  s.acknowledge(8)
}
