import { isUtf8 } from 'node:buffer'
import { systemClock } from '../base/clock.ts'
import { systemRandom } from '../base/random.ts'
import type { Envelope, EnvelopeProperties } from '../bridge/envelope.ts'
import { encodeAck } from '../wire/ack.ts'
import { decodePublish, encodeSubscribe, encodeUnsubscribe, type PublishPacket } from '../wire/client-packets.ts'
import { PacketType } from '../wire/control.ts'
import type { Properties } from '../wire/properties.ts'
import { decodeSuback } from '../wire/suback.ts'
import { BrokerError } from './errors.ts'
import { HEART_SUBSCRIBE_ID, MqttHeart } from './mqtt-heart.ts'
import { type LinkHandler, MqttLink } from './mqtt-link.ts'
import type { EntryResult, NackBody, WorkerCommand, WorkerFacts, WorkSource } from './source.ts'

const FAILED = 0x80
const REJECTED = 0x99
/** Longer reasons are cut; the queue keeps 512 bytes. */
const REASON_CHARACTERS_MAX = 512
const SUBSCRIBE_ID = 1
const UNSUBSCRIBE_ID = 3

interface Waiting {
  readonly max: number
  readonly poll: string
  answer(messages: Envelope[]): void
  fail(error: BrokerError): void
}

/**
 * A work queue over MQTT 5: a subscription to `$queue/<name>`. The broker sends ahead as many messages as the worker holds
 * at most; PUBACK answers each. Leases are extended by the broker while the connection lives; when it ends everything
 * that is held goes back.
 */
export class MqttSource implements WorkSource, LinkHandler {
  onLost: (() => void) | null = null
  /** Messages come by themselves. */
  readonly lingerMs = 0
  readonly #url: URL
  readonly #queue: string
  readonly #capacity: number
  readonly #clientId = `worker-${systemRandom.id(8)}`
  #link: MqttLink | null = null
  #opening: Promise<void> | null = null
  #subscribed: ((error: BrokerError | null) => void) | null = null
  /** Raised with each connection: receipts of an older one are lost. */
  #connection = 0
  #arrived: Envelope[] = []
  #waiting: Waiting | null = null
  #leaseMs = 0
  #quiet = false
  #closed = false
  readonly #heart = new MqttHeart()

  /** @param capacity messages held at most */
  constructor(url: string, queue: string, capacity: number) {
    this.#url = new URL(url)
    this.#queue = queue
    this.#capacity = capacity
  }

  async pull(max: number, waitMs: number, leaseMs: number, poll: string, signal: AbortSignal): Promise<Envelope[]> {
    this.#leaseMs = leaseMs
    await this.#connected()
    if (this.#arrived.length > 0 || signal.aborted) return this.#arrived.splice(0, max)
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        this.#waiting = null
        cancel()
        signal.removeEventListener('abort', giveUp)
      }
      const waiting: Waiting = {
        max,
        poll,
        answer: (messages) => {
          leave()
          resolve(messages)
        },
        fail: (error) => {
          leave()
          reject(error)
        },
      }
      const giveUp = (): void => waiting.answer([])
      const cancel = systemClock.after(waitMs, giveUp)
      signal.addEventListener('abort', giveUp)
      this.#waiting = waiting
    })
  }

  async cancel(poll: string): Promise<boolean> {
    if (this.#waiting?.poll !== poll) return false
    this.#waiting.answer([])
    return true
  }

  async ack(receipts: readonly string[]): Promise<EntryResult[]> {
    return receipts.map((receipt) => this.#answer(receipt, 0, null))
  }

  async nack(entries: readonly NackBody[]): Promise<EntryResult[]> {
    return entries.map(({ receipt, reason, delayMs, reject, release }) => {
      if (release === true) return this.#release(receipt)
      const properties: Properties = {}
      if (reason !== undefined) properties.reasonString = reason.slice(0, REASON_CHARACTERS_MAX)
      if (delayMs !== undefined) properties.userProperties = [['sluicemq-delay-ms', String(delayMs)]]
      return this.#answer(receipt, reject === true ? REJECTED : FAILED, properties)
    })
  }

  /** The broker extends by itself while the connection lives. */
  async extend(receipts: readonly string[]): Promise<EntryResult[]> {
    return receipts.map((receipt) =>
      this.#packetId(receipt) > 0 ? { receipt, ok: true } : { receipt, ok: false, error: 'receipt_lost' },
    )
  }

  set onTold(told: ((command: WorkerCommand) => void) | null) {
    this.#heart.onTold = told
  }

  async heartbeat(id: string, facts: WorkerFacts): Promise<WorkerCommand> {
    await this.#connected()
    return this.#heart.beat(this.#link!, id, facts)
  }

  /** What was sent ahead goes back. */
  quiet(quiet: boolean): void {
    if (quiet === this.#quiet) return
    this.#quiet = quiet
    if (this.#link === null) return
    if (!quiet) return this.#subscribe(this.#link)
    this.#link.write(encodeUnsubscribe(5, UNSUBSCRIBE_ID, [`$queue/${this.#queue}`]))
    for (const { receipt } of this.#arrived.splice(0)) this.#release(receipt)
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#link?.close()
  }

  packet(type: number, flags: number, buf: Buffer, start: number, end: number): void {
    if (type === PacketType.PUBLISH) {
      const packet = decodePublish(flags, buf, start, end, 5)
      if (packet.qos === 0 && this.#heart.takes(packet)) return
      const envelope = this.#envelopeOf(packet)
      if (this.#quiet) {
        this.#release(envelope.receipt)
        return
      }
      this.#arrived.push(envelope)
      const waiting = this.#waiting
      // The rest of what was read comes along.
      if (waiting !== null && this.#arrived.length === 1) setImmediate(() => this.#serve())
    } else if (type === PacketType.SUBACK) {
      const { packetId, reasonCodes, properties } = decodeSuback(PacketType.SUBACK, buf, start, end, 5)
      if (packetId === HEART_SUBSCRIBE_ID && reasonCodes[0]! >= 0x80)
        this.#heart.fail(new BrokerError(403, 'refused', 'may not subscribe to its command topic'))
      if (packetId !== SUBSCRIBE_ID) return
      const code = reasonCodes[0]!
      const why = properties?.reasonString ?? `SUBACK with reason code 0x${code.toString(16)} for $queue/${this.#queue}`
      const error = new BrokerError(code === 0x8f ? 404 : 403, code === 0x8f ? 'queue_unknown' : 'refused', why)
      this.#subscribed?.(code < 0x80 ? null : error)
    } else if (type === PacketType.DISCONNECT) {
      void this.#link?.close()
      this.closed(new BrokerError(503, 'disconnected', 'the broker ended the connection'))
    }
  }

  closed(error: BrokerError): void {
    if (this.#link === null && this.#subscribed === null) return
    this.#link = null
    this.#arrived = []
    this.#connection++
    this.#subscribed?.(error)
    this.#heart.fail(error)
    if (!this.#closed) this.onLost?.()
    this.#waiting?.fail(error)
  }

  #connected(): Promise<void> {
    if (this.#link !== null) return Promise.resolve()
    this.#opening ??= this.#open().finally(() => {
      this.#opening = null
    })
    return this.#opening
  }

  async #open(): Promise<void> {
    const link = await MqttLink.open(this.#url, this.#clientId, this.#capacity, this)
    const answered = new Promise<BrokerError | null>((resolve) => {
      this.#subscribed = resolve
    })
    this.#link = link
    if (this.#quiet) {
      this.#subscribed = null
      return
    }
    this.#subscribe(link)
    const error = await answered
    this.#subscribed = null
    if (error === null) return
    this.#link = null
    await link.close()
    throw error
  }

  #subscribe(link: MqttLink): void {
    const userProperties: [string, string][] = [
      ['sluicemq-lease-ms', String(this.#leaseMs)],
      ['sluicemq-extend', 'true'],
    ]
    const filter = { topicFilter: `$queue/${this.#queue}`, qos: 1 as const }
    link.write(encodeSubscribe(5, SUBSCRIBE_ID, [filter], { userProperties }))
  }

  /** Given back unworked: ready at once, the attempt does not count. */
  #release(receipt: string): EntryResult {
    const properties: Properties = { userProperties: [['sluicemq-release', 'true']] }
    return this.#answer(receipt, FAILED, properties)
  }

  #serve(): void {
    const waiting = this.#waiting
    if (waiting !== null && this.#arrived.length > 0) waiting.answer(this.#arrived.splice(0, waiting.max))
  }

  /** The Packet Identifier; 0 when the receipt is of an older connection. */
  #packetId(receipt: string): number {
    const dash = receipt.indexOf('-')
    return this.#link !== null && Number(receipt.slice(0, dash)) === this.#connection
      ? Number(receipt.slice(dash + 1))
      : 0
  }

  #answer(receipt: string, reasonCode: number, properties: Properties | null): EntryResult {
    const packetId = this.#packetId(receipt)
    if (packetId === 0) return { receipt, ok: false, error: 'receipt_lost' }
    this.#link!.write(encodeAck(PacketType.PUBACK, 5, packetId, reasonCode, properties))
    return { receipt, ok: true }
  }

  #envelopeOf({ topic, payload, packetId, properties }: PublishPacket): Envelope {
    const text = isUtf8(payload)
    const facts = new Map<string, string>()
    const own: [string, string][] = []
    for (const property of properties?.userProperties ?? []) {
      if (property[0].startsWith('sluicemq-')) facts.set(property[0].slice('sluicemq-'.length), property[1])
      else own.push(property)
    }
    const now = systemClock.now()
    const envelope: Envelope = {
      v: 1,
      id: facts.get('id') ?? '',
      queue: facts.get('queue') ?? this.#queue,
      receipt: `${this.#connection}-${packetId}`,
      topic,
      levels: topic.split('/'),
      clientId: facts.get('client') ?? '',
      qos: 1,
      retain: false,
      time: new Date(Number(facts.get('time') ?? now)).toISOString(),
      encoding: text ? 'utf8' : 'base64',
      payload: payload.toString(text ? 'utf8' : 'base64'),
      attempt: Number(facts.get('attempt') ?? 1),
      leasedUntil: new Date(now + this.#leaseMs).toISOString(),
    }
    const shown = propertiesOf(properties, own)
    if (shown !== null) envelope.properties = shown
    return envelope
  }
}

function propertiesOf(properties: Properties | null, own: [string, string][]): EnvelopeProperties | null {
  if (properties === null) return null
  const { payloadFormatIndicator, messageExpiryInterval, contentType, responseTopic, correlationData } = properties
  const shown: EnvelopeProperties = {}
  if (payloadFormatIndicator !== undefined) shown.payloadFormatIndicator = payloadFormatIndicator
  if (messageExpiryInterval !== undefined) shown.messageExpiryInterval = messageExpiryInterval
  if (contentType !== undefined) shown.contentType = contentType
  if (responseTopic !== undefined) shown.responseTopic = responseTopic
  if (correlationData !== undefined) shown.correlationData = correlationData.toString('base64')
  if (own.length > 0) shown.userProperties = own
  return Object.keys(shown).length === 0 ? null : shown
}
