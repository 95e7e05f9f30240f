/**
 * A client of the lab that keeps every rule of the specification: it retransmits in order with DUP, keeps its half of QoS 2
 * over reconnects, and forgets its session when it is told that there is none. What it sees goes to a journal.
 */
import {
  type AckPacket,
  type BrokerPacket,
  encodeRawAck,
  encodeRawConnect,
  encodeRawDisconnect,
  encodeRawPublish,
  encodeRawSubscribe,
  encodeRawUnsubscribe,
  type PublishPacket,
  RawPacketReader,
  type RawProperties,
  type RawWill,
  type Version,
} from '../../support/raw-packets.ts'
import type { LabLine } from './line.ts'

/** One message, from the point of view of whoever publishes it. */
export interface LabMessage {
  /** Its payload; different for every message of a run. */
  readonly id: string
  readonly topic: string
  readonly qos: 0 | 1 | 2
  readonly retain: boolean
  /** Empty payload: removes the retained message. */
  readonly clears?: boolean
  transmissions: number
}

export interface ClientJournal {
  connecting(client: LabClient): void
  connected(client: LabClient, sessionPresent: boolean): void
  connectRefused(client: LabClient, code: number): void
  /** The connection ended; `said`: the client had said DISCONNECT. */
  gone(client: LabClient, said: boolean): void
  acknowledged(client: LabClient, message: LabMessage): void
  refused(client: LabClient, message: LabMessage, code: number): void
  /** The session is gone and the message with it. */
  abandoned(client: LabClient, message: LabMessage): void
  received(client: LabClient, packet: PublishPacket, redelivered: boolean): void
  subscribed(client: LabClient, topicFilter: string, code: number): void
  unsubscribed(client: LabClient, topicFilter: string): void
  violation(what: string): void
}

export interface ClientOptions {
  readonly clientId: string
  readonly version: Version
  clean: boolean
  /** MQTT 5: Session Expiry Interval. */
  readonly expirySeconds?: number
  readonly receiveMaximum?: number
  will?: RawWill
}

interface Flow {
  readonly message: LabMessage
  state: 'publish' | 'pubrel'
}

export class LabClient {
  readonly options: ClientOptions
  state: 'offline' | 'connecting' | 'online' = 'offline'
  /** Acknowledgements are kept back until `acknowledge`. */
  holdsAcks = false
  sessionPresent = false
  lastRefusal = -1
  readonly #journal: ClientJournal
  readonly #flows = new Map<number, Flow>()
  readonly #unreleased = new Set<number>()
  /** What was last received under each Packet Identifier, until it is released or acknowledged for good. */
  readonly #lastUnder = new Map<number, string>()
  readonly #asked = new Map<number, { kind: 'subscribe' | 'unsubscribe'; topicFilters: string[] }>()
  #line: LabLine | null = null
  #reader = new RawPacketReader()
  #held: Buffer[] = []
  #packetId = 0
  #saidGoodbye = false

  constructor(options: ClientOptions, journal: ClientJournal) {
    this.options = options
    this.#journal = journal
  }

  get line(): LabLine | null {
    return this.#line
  }
  get inFlight(): number {
    return this.#flows.size
  }
  get halfDone(): number {
    return this.#unreleased.size
  }
  /** It has said DISCONNECT, and the connection still stands. */
  get leaving(): boolean {
    return this.#saidGoodbye && this.#line !== null
  }
  /** A SUBSCRIBE or UNSUBSCRIBE has no answer yet. */
  get asking(): boolean {
    return this.#asked.size > 0
  }
  get persistent(): boolean {
    const { version, clean, expirySeconds = 0 } = this.options
    return version === 5 ? expirySeconds > 0 : !clean
  }

  /** Says CONNECT over a fresh line. */
  connect(line: LabLine): void {
    const { version, clientId, clean, expirySeconds, receiveMaximum, will } = this.options
    const left = this.#line
    this.#line = line
    // It leaves the old connection standing; the broker has to take the session over.
    if (left !== null) this.#journal.gone(this, this.#saidGoodbye)
    this.state = 'connecting'
    this.#saidGoodbye = false
    this.#held = []
    this.#asked.clear()
    this.#reader = new RawPacketReader()
    this.#reader.version = version
    line.client = { received: (bytes) => this.#take(line, bytes), gone: () => this.#gone(line) }
    if (clean) this.#forget()
    this.#journal.connecting(this)
    const properties: RawProperties = {}
    if (expirySeconds !== undefined) properties['sessionExpiryInterval'] = expirySeconds
    if (receiveMaximum !== undefined) properties['receiveMaximum'] = receiveMaximum
    line.send(encodeRawConnect({ version, clientId, clean, ...(will && { will }), properties }))
  }

  publish(message: LabMessage): void {
    message.transmissions++
    const packetId = message.qos === 0 ? 0 : this.#freePacketId()
    if (message.qos > 0) this.#flows.set(packetId, { message, state: 'publish' })
    this.#send(this.#publish(message, packetId, false))
  }

  subscribe(topicFilters: string[], qos: 0 | 1 | 2): void {
    const packetId = this.#freePacketId()
    this.#asked.set(packetId, { kind: 'subscribe', topicFilters })
    const entries = topicFilters.map((topicFilter) => ({ topicFilter, options: qos }))
    this.#send(encodeRawSubscribe(packetId, entries, this.options.version))
  }

  unsubscribe(topicFilters: string[]): void {
    const packetId = this.#freePacketId()
    this.#asked.set(packetId, { kind: 'unsubscribe', topicFilters })
    this.#send(encodeRawUnsubscribe(packetId, topicFilters, this.options.version))
  }

  /** Sends the acknowledgements that were held back. */
  acknowledge(): void {
    const held = this.#held
    this.#held = []
    for (const bytes of held) this.#send(bytes)
  }

  disconnect(): void {
    this.#saidGoodbye = true
    this.#send(encodeRawDisconnect(this.options.version))
  }

  /** Cuts the connection; of what was sent, `arrives` writes still reach the broker. */
  reset(arrives = 0): void {
    this.#line?.reset(arrives)
  }

  #send(bytes: Buffer): void {
    this.#line?.send(bytes)
  }

  #take(line: LabLine, bytes: Buffer): void {
    if (line !== this.#line) return
    try {
      this.#reader.push(bytes, (packet) => {
        if (line === this.#line) this.#packet(packet)
      })
    } catch (error) {
      this.#journal.violation(`${this.options.clientId}: ${(error as Error).message}`)
    }
  }

  #gone(line: LabLine): void {
    if (line !== this.#line) return
    this.#line = null
    this.state = 'offline'
    this.#held = []
    this.#journal.gone(this, this.#saidGoodbye)
  }

  #packet(packet: BrokerPacket): void {
    switch (packet.type) {
      case 'connack':
        return this.#connack(packet.code, packet.sessionPresent)
      case 'publish':
        return this.#received(packet)
      case 'pubrel':
        this.#unreleased.delete(packet.packetId)
        this.#lastUnder.delete(packet.packetId)
        return this.#answer('pubcomp', packet.packetId)
      case 'puback':
      case 'pubrec':
      case 'pubcomp':
        return this.#acknowledged(packet)
      case 'suback':
      case 'unsuback': {
        const asked = this.#asked.get(packet.packetId)
        this.#asked.delete(packet.packetId)
        for (const [i, topicFilter] of (asked?.topicFilters ?? []).entries()) {
          const code = packet.codes[i] ?? 0
          if (packet.type === 'suback') this.#journal.subscribed(this, topicFilter, code)
          else if (code < 0x80) this.#journal.unsubscribed(this, topicFilter)
        }
        return
      }
      case 'disconnect':
        this.lastRefusal = packet.code
    }
  }

  #connack(code: number, sessionPresent: boolean): void {
    if (code !== 0) {
      this.lastRefusal = code
      this.#journal.connectRefused(this, code)
      return
    }
    this.state = 'online'
    this.sessionPresent = sessionPresent
    this.#journal.connected(this, sessionPresent)
    // MQTT 3.1 does not say whether there is a session; what waits is sent again, as its specification has it.
    if (!sessionPresent && this.options.version > 3) this.#forget()
    for (const [packetId, { message, state }] of this.#flows) {
      if (state === 'publish') message.transmissions++
      this.#send(state === 'publish' ? this.#publish(message, packetId, true) : encodeRawAck('pubrel', packetId))
    }
  }

  #publish(message: LabMessage, packetId: number, dup: boolean): Buffer {
    const { topic, qos, retain } = message
    const payload = message.clears ? '' : message.id
    return encodeRawPublish({ topic, payload, qos, retain, dup, packetId }, this.options.version)
  }

  #forget(): void {
    for (const { message, state } of this.#flows.values())
      if (state === 'publish') this.#journal.abandoned(this, message)
    this.#flows.clear()
    this.#unreleased.clear()
    this.#lastUnder.clear()
  }

  #freePacketId(): number {
    do this.#packetId = (this.#packetId % 65_535) + 1
    while (this.#flows.has(this.#packetId))
    return this.#packetId
  }

  #answer(type: AckPacket['type'], packetId: number): void {
    const bytes = encodeRawAck(type, packetId)
    if (this.holdsAcks) this.#held.push(bytes)
    else this.#send(bytes)
  }

  #received(packet: PublishPacket): void {
    const { packetId, qos, topic } = packet
    const name = `${topic} ${packet.payload}`
    const again = qos > 0 && this.#lastUnder.get(packetId) === name
    if (again && !packet.dup)
      this.#journal.violation(`${this.options.clientId} got ${name} again without DUP [v3 MQTT-3.3.1-1]`)
    if (qos > 0) this.#lastUnder.set(packetId, name)
    if (qos === 2) {
      this.#answer('pubrec', packetId)
      if (this.#unreleased.has(packetId)) {
        if (!again)
          this.#journal.violation(`${this.options.clientId} got ${name} under packet ${packetId}, not released`)
        return
      }
      this.#unreleased.add(packetId)
    } else if (qos === 1) this.#answer('puback', packetId)
    this.#journal.received(this, packet, packet.dup)
  }

  #acknowledged({ type, packetId, code }: AckPacket): void {
    const flow = this.#flows.get(packetId)
    if (flow === undefined) {
      this.#journal.violation(`${this.options.clientId} got ${type} for packet ${packetId}, which is not in flight`)
      return
    }
    const { message, state } = flow
    const wanted = message.qos === 1 ? 'puback' : state === 'publish' ? 'pubrec' : 'pubcomp'
    if (type !== wanted && !(message.qos === 2 && type === 'pubrec')) {
      this.#journal.violation(`${this.options.clientId} got ${type} for ${message.id} and expected ${wanted}`)
      return
    }
    if (type === 'pubcomp') {
      this.#flows.delete(packetId)
      return
    }
    if (code >= 0x80) {
      this.#flows.delete(packetId)
      if (state === 'publish') this.#journal.refused(this, message, code)
      return
    }
    if (state === 'publish') this.#journal.acknowledged(this, message)
    if (type === 'puback') this.#flows.delete(packetId)
    else {
      flow.state = 'pubrel'
      this.#send(encodeRawAck('pubrel', packetId))
    }
  }
}
