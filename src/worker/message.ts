import type { Envelope, EnvelopeFailure, EnvelopeProperties } from '../bridge/envelope.ts'
import { LeaseLostError } from './errors.ts'

/** One message under lease. `T` is what its payload holds as JSON. */
export class WorkerMessage<T = unknown> {
  /** Everything the broker says about the message, in its own form. */
  readonly envelope: Envelope
  #abort: AbortController | null = null
  #lost = false
  #value: T | undefined
  #accepted = false

  constructor(envelope: Envelope) {
    this.envelope = envelope
  }

  /** The same for every delivery, of no other message ever: use it to recognise duplicates. */
  get id(): string {
    return this.envelope.id
  }
  get queue(): string {
    return this.envelope.queue
  }
  get receipt(): string {
    return this.envelope.receipt
  }
  get topic(): string {
    return this.envelope.topic
  }
  /** The levels of the topic. */
  get levels(): readonly string[] {
    return this.envelope.levels
  }
  /** Client Identifier of the publisher. */
  get clientId(): string {
    return this.envelope.clientId
  }
  get userName(): string | undefined {
    return this.envelope.userName
  }
  get qos(): 0 | 1 | 2 {
    return this.envelope.qos
  }
  get retain(): boolean {
    return this.envelope.retain
  }
  /** When the broker took the message. */
  get time(): Date {
    return new Date(this.envelope.time)
  }
  /** MQTT 5 properties. */
  get properties(): EnvelopeProperties {
    return this.envelope.properties ?? {}
  }
  /** 1 = first. */
  get attempt(): number {
    return this.envelope.attempt
  }
  /** Oldest first. */
  get failures(): readonly EnvelopeFailure[] {
    return this.envelope.failures ?? []
  }

  /** The payload as text (UTF-8; bytes that are not become U+FFFD). */
  text(): string {
    const { encoding, payload } = this.envelope
    return encoding === 'utf8' ? payload : Buffer.from(payload, 'base64').toString()
  }

  /** The payload parsed as JSON. Throws a SyntaxError when it is none. */
  json(): T {
    return JSON.parse(this.text()) as T
  }

  /** The payload as the worker's `schema` has it; without one, as `json()`. */
  get value(): T {
    return this.#accepted ? (this.#value as T) : this.json()
  }

  /** Called by the worker. */
  accept(value: T): void {
    this.#value = value
    this.#accepted = true
  }

  /** The payload as it was published. */
  bytes(): Uint8Array {
    const { encoding, payload } = this.envelope
    return Buffer.from(payload, encoding === 'utf8' ? 'utf8' : 'base64')
  }

  /** Aborted when the lease was lost or the worker gives up waiting for the handler: stop, the result no longer counts. */
  get signal(): AbortSignal {
    this.#abort ??= new AbortController()
    if (this.#lost && !this.#abort.signal.aborted) this.#abort.abort(new LeaseLostError(this.receipt))
    return this.#abort.signal
  }

  /** True once the result no longer counts. */
  get lost(): boolean {
    return this.#lost
  }

  /** Called by the worker. */
  lose(): void {
    this.#lost = true
    this.#abort?.abort(new LeaseLostError(this.receipt))
  }
}
