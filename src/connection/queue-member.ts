import type { HandedOut, MemberQueue } from '../queue/member-queue.ts'
import type { NackEntry } from '../queue/requests.ts'
import { HEADER_BYTES, storedClientIdBytes, storedTime } from '../router/message.ts'
import type { QueueMembers } from './queue-members.ts'

/** Messages of one pull, and results of one request. */
const BATCH_MAX = 1000

/** A pull is asked for anew after this long, in ms. */
const POLL_MS = 60_000

/** Pause after a pull that failed, in ms. */
const RETRY_MS = 1000

/** Leases that are extended are extended this many times before they would end. */
const EXTENSIONS = 3

const USER_PROPERTY = 0x26

/** What a SUBSCRIBE of MQTT 5 may ask for, as user properties: `sluicemq-lease-ms`, `sluicemq-extend`. */
export interface MemberOptions {
  readonly leaseMs: number
  /** Leases go on while the connection lives. */
  readonly extend: boolean
}

/** One subscription to a work queue: pulls in batches as the window has room, and answers in batches. */
export class QueueMember {
  readonly #queue: MemberQueue
  readonly #options: MemberOptions
  readonly #members: QueueMembers
  readonly #abort = new AbortController()
  /** Subscription Identifier, and the queue's name as a user property. */
  readonly #head: Buffer
  /** Leased and not sent. */
  #unsent: HandedOut[] = []
  #next = 0
  #acks: string[] = []
  #nacks: NackEntry[] = []
  #more: (() => void) | null = null
  readonly #pause: (ms: number, then: () => void) => unknown

  /**
   * @param prefix Subscription Identifier as property bytes, or null
   * @param pause calls back after so many ms
   */
  constructor(
    queue: MemberQueue,
    options: MemberOptions,
    prefix: Buffer | null,
    members: QueueMembers,
    pause: (ms: number, then: () => void) => unknown,
  ) {
    this.#pause = pause
    this.#queue = queue
    this.#options = options
    this.#members = members
    this.#head = Buffer.concat([prefix ?? Buffer.alloc(0), userProperty('sluicemq-queue', queue.name)])
  }

  start(): void {
    if (this.#options.extend) this.#extendLater()
    this.#pull()
  }

  /** Messages that lie between the queue and the connection. */
  get unsent(): readonly HandedOut[] {
    return this.#unsent.slice(this.#next)
  }

  #extendLater(): void {
    const { leaseMs } = this.#options
    this.#pause(leaseMs / EXTENSIONS, () => {
      if (this.#abort.signal.aborted) return
      const entries = this.#members.heldBy(this).map(({ receipt }) => ({ receipt, leaseMs }))
      if (entries.length > 0) this.#queue.extend(entries).catch((error: unknown) => this.#members.failed(error))
      this.#extendLater()
    })
  }

  #pull(): void {
    this.#run().catch((error: unknown) => {
      this.#members.failed(error)
      // The store is away, or too many wait: the client stays a member.
      if (!this.#abort.signal.aborted) this.#pause(RETRY_MS, () => this.#pull())
    })
  }

  /** Takes no more, and gives back what was not sent. */
  stop(): void {
    if (this.#abort.signal.aborted) return
    this.#abort.abort()
    const unsent = this.#unsent.slice(this.#next)
    this.#unsent = []
    this.#next = 0
    if (unsent.length > 0) this.#queue.release(unsent)
    this.wake()
  }

  /** The next message to send. */
  next(): HandedOut | undefined {
    const delivery = this.#unsent[this.#next]
    if (delivery === undefined) return undefined
    if (++this.#next === this.#unsent.length) {
      this.#unsent = []
      this.#next = 0
    }
    return delivery
  }

  /** There may be room for more. */
  wake(): void {
    this.#more?.()
  }

  acked(receipt: string): void {
    this.#acks.push(receipt)
    if (this.#acks.length >= BATCH_MAX) this.answer()
  }

  failed(entry: NackEntry): void {
    this.#nacks.push(entry)
    if (this.#nacks.length >= BATCH_MAX) this.answer()
  }

  /** Tells the queue. What the store refuses is written again by the queue itself. */
  answer(): void {
    const failed = (error: unknown): void => this.#members.failed(error)
    if (this.#acks.length > 0) {
      const acks = this.#acks
      this.#acks = []
      this.#queue.ack(acks).catch(failed)
    }
    if (this.#nacks.length > 0) {
      const nacks = this.#nacks
      this.#nacks = []
      this.#queue.nack(nacks).catch(failed)
    }
  }

  giveBack(deliveries: readonly HandedOut[]): void {
    this.#queue.release(deliveries)
  }

  /**
   * Property bytes of one delivery (MQTT 5): `sluicemq-queue`, `sluicemq-id`, `sluicemq-attempt`, `sluicemq-time` (ms since
   * 1970) and `sluicemq-client`, the publisher.
   */
  properties(delivery: HandedOut): Buffer {
    const { message } = delivery
    const id = delivery.deadLetter?.id ?? delivery.id
    const attempt = String(delivery.attempt)
    const time = String(storedTime(message))
    const clientBytes = storedClientIdBytes(message)
    const head = this.#head
    const bytes = Buffer.allocUnsafe(head.length + NAMES_BYTES + id.length + attempt.length + time.length + clientBytes)
    let at = head.copy(bytes)
    at = put(bytes, at, ID_NAME, id)
    at = put(bytes, at, ATTEMPT_NAME, attempt)
    at = put(bytes, at, TIME_NAME, time)
    bytes[at++] = USER_PROPERTY
    at = bytes.writeUInt16BE(CLIENT_NAME.length, at)
    at += CLIENT_NAME.copy(bytes, at)
    at = bytes.writeUInt16BE(clientBytes, at)
    message.copy(bytes, at, HEADER_BYTES, HEADER_BYTES + clientBytes)
    return bytes
  }

  async #run(): Promise<void> {
    const { signal } = this.#abort
    while (!signal.aborted) {
      const { room, capacity } = this.#members
      // Small pulls for every place that comes free would cost a commit each.
      if (room < Math.max(1, Math.min(capacity, BATCH_MAX) >> 1) || this.#unsent.length > 0) {
        await new Promise<void>((resolve) => {
          this.#more = resolve
        })
        this.#more = null
        continue
      }
      const deliveries = await this.#queue.pull(Math.min(room, BATCH_MAX), this.#options.leaseMs, POLL_MS, signal)
      if (signal.aborted) {
        this.#queue.release(deliveries)
        return
      }
      this.#unsent = deliveries
      this.#next = 0
      this.#members.pump()
    }
  }
}

const ID_NAME = Buffer.from('sluicemq-id')
const ATTEMPT_NAME = Buffer.from('sluicemq-attempt')
const TIME_NAME = Buffer.from('sluicemq-time')
const CLIENT_NAME = Buffer.from('sluicemq-client')
/** Each with the property's own byte and two lengths. */
const NAMES_BYTES = 4 * 5 + ID_NAME.length + ATTEMPT_NAME.length + TIME_NAME.length + CLIENT_NAME.length

/** A user property whose value is ASCII. */
function put(bytes: Buffer, from: number, name: Buffer, value: string): number {
  let at = from
  bytes[at++] = USER_PROPERTY
  at = bytes.writeUInt16BE(name.length, at)
  at += name.copy(bytes, at)
  at = bytes.writeUInt16BE(value.length, at)
  return at + bytes.write(value, at, 'latin1')
}

function userProperty(name: string, value: string): Buffer {
  const valueBytes = Buffer.from(value)
  const bytes = Buffer.alloc(5 + name.length + valueBytes.length)
  bytes[0] = USER_PROPERTY
  const at = bytes.writeUInt16BE(name.length, 1)
  bytes.write(name, at, 'latin1')
  bytes.writeUInt16BE(valueBytes.length, at + name.length)
  valueBytes.copy(bytes, at + name.length + 2)
  return bytes
}
