import type { Clock } from '../base/clock.ts'
import { SluiceError } from '../errors.ts'
import type { Admission, Intake } from '../queue/intake.ts'
import { PRIORITY_DEFAULT, type Terms } from '../queue/terms.ts'
import { encodeStored, NO_EXPIRY, Origin } from '../router/message.ts'
import type { Store } from '../store.ts'
import { PacketType } from '../wire/control.ts'
import type { Properties } from '../wire/properties.ts'
import { encodePropertyBytes } from '../wire/property-bytes.ts'
import { isTopicName } from '../wire/topic.ts'

/** A message that a program puts into a queue itself, not through a device. */
export interface Produced {
  readonly payload: Buffer
  /** Default: `$queue/` and the queue's name. */
  readonly topic?: string
  /** Shown as the publisher's Client Identifier; default empty. */
  readonly clientId?: string
  readonly contentType?: string
  readonly userProperties?: [string, string][]
  /** Ordering key. */
  readonly key?: string
  /** Idempotency key: within the queue's window only the first message with it enters. */
  readonly idempotencyKey?: string
  readonly priority?: number
  readonly delayMs?: number
  /** Wall clock ms; counts before `delayMs`. */
  readonly deliverAt?: number
  readonly ttlMs?: number
}

export interface ProducedResult {
  ok: boolean
  /** The message's id, where the queue gave it one of its own. */
  id?: string
  /** It was there before, by its idempotency key: nothing was added. */
  duplicate?: true
  error?: { code: string; message: string }
}

export interface ProducerParts {
  readonly store: Store
  readonly clock: Clock
  intakeOf(queue: string): Intake
  /** Why nothing that has to be kept is taken at the moment; null: it is. */
  shortage(): SluiceError | null
  /** Resolves when everything written in this turn is durable. */
  commit(): Promise<void>
}

/** Puts messages into queues past the router: nobody subscribed gets them, and no rule looks at them. */
export class Producer {
  readonly #parts: ProducerParts
  /** Those of the last message: most come in batches that share them. */
  #origin = new Origin('', undefined)
  #topic: string | null = null
  #topicBytes = Buffer.alloc(0)

  constructor(parts: ProducerParts) {
    this.#parts = parts
  }

  /**
   * Resolves when every message that was taken is durable, with one result for each. A full queue that blocks is waited for
   * as its settings say.
   * @throws SluiceError queue_unknown, store_unavailable, store_full (also while the room of the store is short)
   */
  async produce(queue: string, messages: readonly Produced[]): Promise<ProducedResult[]> {
    const intake = this.#parts.intakeOf(queue)
    const shortage = this.#parts.shortage()
    if (shortage !== null) throw shortage
    const results: ProducedResult[] = []
    let now = this.#parts.clock.now()
    for (let i = 0; i < messages.length; i++) {
      const entered = this.#enter(intake, queue, messages[i]!, now)
      if (entered instanceof Promise) {
        // The queue was full.
        results.push(await entered)
        now = this.#parts.clock.now()
      } else results.push(entered)
    }
    await this.#parts.commit()
    return results
  }

  #enter(intake: Intake, queue: string, message: Produced, now: number): ProducedResult | Promise<ProducedResult> {
    const { topic = `$queue/${queue}` } = message
    if (topic !== this.#topic && !isTopicName(topic))
      return refused(new SluiceError('topic_name_invalid', `${topic} is no Topic Name`))
    const terms = this.#termsOf(message)
    const admission = intake.admit(terms)
    return admission.verdict === 'hold'
      ? this.#wait(admission, intake, terms, topic, message)
      : this.#finish(admission, topic, message, now)
  }

  async #wait(
    hold: Admission,
    intake: Intake,
    terms: Terms | null,
    topic: string,
    message: Produced,
  ): Promise<ProducedResult> {
    let admission = hold
    while (admission.verdict === 'hold') {
      const full = admission.intake
      const room = await new Promise<boolean>((resolve) => full.whenRoom(resolve))
      if (!room) return refused(full.fullError())
      admission = intake.admit(terms)
    }
    return this.#finish(admission, topic, message, this.#parts.clock.now())
  }

  #finish(
    admission: Exclude<Admission, { verdict: 'hold' }>,
    topic: string,
    message: Produced,
    now: number,
  ): ProducedResult {
    if (admission.verdict === 'refuse') return refused(admission.error)
    if (admission.verdict === 'drop')
      return admission.reason === 'duplicate'
        ? { ok: true, duplicate: true }
        : refused(new SluiceError('queue_full', 'the queue is full and drops what is new'))
    const { store } = this.#parts
    const { payload, clientId = '' } = message
    if (this.#origin.clientId !== clientId) this.#origin = new Origin(clientId, undefined)
    if (this.#topic !== topic) {
      this.#topic = topic
      this.#topicBytes = Buffer.from(topic)
    }
    const bytes = this.#topicBytes
    const props = propertyBytes(message)
    store.append(
      encodeStored(
        this.#origin,
        1,
        false,
        now,
        NO_EXPIRY,
        -1,
        payload,
        bytes,
        0,
        bytes.length,
        props,
        0,
        props.length,
        0,
        payload.length,
      ),
      admission.targets,
    )
    admission.entered()
    return admission.id === null ? ENTERED : { ok: true, id: admission.id }
  }

  #termsOf({ key, idempotencyKey, priority, delayMs, deliverAt, ttlMs }: Produced): Terms | null {
    const plain = key === undefined && idempotencyKey === undefined && priority === undefined
    if (plain && delayMs === undefined && deliverAt === undefined && ttlMs === undefined) return null
    const now = this.#parts.clock.now()
    const terms: Terms = {}
    if (key !== undefined) terms.key = Buffer.from(key)
    if (idempotencyKey !== undefined) terms.deduplicationKey = Buffer.from(idempotencyKey)
    if (priority !== undefined && priority !== PRIORITY_DEFAULT) terms.priority = priority
    if (deliverAt !== undefined) terms.deliverAt = deliverAt
    else if (delayMs !== undefined) terms.deliverAt = now + delayMs
    if (ttlMs !== undefined) terms.expiresAt = now + ttlMs
    return Object.keys(terms).length === 0 ? null : terms
  }
}

function refused(error: SluiceError): ProducedResult {
  return { ok: false, error: { code: error.code, message: error.message } }
}

function propertyBytes({ contentType, userProperties }: Produced): Buffer {
  if (contentType === undefined && userProperties === undefined) return NONE
  const properties: Properties = {}
  if (contentType !== undefined) properties.contentType = contentType
  if (userProperties !== undefined) properties.userProperties = userProperties
  return encodePropertyBytes(properties, PacketType.PUBLISH)
}

const NONE = Buffer.alloc(0)

/** Shared by all plain messages that entered. */
const ENTERED: ProducedResult = Object.freeze({ ok: true })
