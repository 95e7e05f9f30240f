import { systemClock } from '../base/clock.ts'
import { systemRandom } from '../base/random.ts'
import type { Envelope } from '../bridge/envelope.ts'
import type { Outbox } from './outbox.ts'
import { Retry, sleep } from './retry.ts'
import type { WorkSource } from './source.ts'

/** A pull asks for no fewer, where the worker has room for them: small requests cost more than they bring. */
const PULL_MIN = 100
const CANCEL_PAUSE_MS = 10

export interface PullerOptions {
  /** Messages held at a time. */
  readonly capacity: number
  /** Handlers running at a time. */
  readonly concurrency: number
  readonly waitMs: number
  readonly leaseMs: number
}

export interface PullerOwner {
  /** Messages that may be taken now, those that are on their way included. */
  room(): number
  /** @param since monotonic ms before which none of these leases began */
  took(envelopes: readonly Envelope[], since: number): void
  failed(error: Error): void
  /** Results of handlers that are to travel with a pull. */
  readonly outbox: Outbox
}

/**
 * Keeps messages coming from one source, as many as there is room for. While answers come back full the next ones are
 * asked for before they have come, so that the time a lease takes to reach the disk is not waited for again and again; else
 * one request waits for messages. With one handler at a time there is one request at a time: messages are handled in the
 * order in which the queue has them.
 */
export class Puller {
  readonly #source: WorkSource
  readonly #options: PullerOptions
  readonly #owner: PullerOwner
  readonly #stop: AbortSignal
  readonly #pullsMax: number
  /** Messages a pull asks for at most. */
  readonly #piece: number
  /** Free places that make a pull worth its while when none is under way. */
  readonly #enough: number
  /** Names of the pulls under way and how many messages they ask for. */
  readonly #asked = new Map<string, number>()
  readonly #name = systemRandom.id(8)
  #pulls = 0
  readonly #retry = new Retry()
  /** Aborted: what is under way is no longer waited for. */
  readonly #hangUp = new AbortController()
  /** The last answer was full. */
  #more = false
  #pausing = false
  /** `ask` is on its way. */
  #asking = false
  /** Called when the last pull has ended. */
  #onIdle: (() => void) | null = null

  /** @param stop aborted: nothing new is asked for, and what waits is answered */
  constructor(source: WorkSource, options: PullerOptions, owner: PullerOwner, stop: AbortSignal) {
    const { capacity, concurrency } = options
    this.#source = source
    this.#options = options
    this.#owner = owner
    this.#stop = stop
    this.#pullsMax = concurrency === 1 ? 1 : (source.pullsMax ?? 1)
    this.#piece = Math.max(Math.min(capacity, PULL_MIN), Math.ceil(capacity / this.#pullsMax))
    this.#enough = Math.min(this.#piece, Math.max(1, (capacity - concurrency) >> 1))
  }

  /** Resolves when it was told to stop and every pull has ended. */
  async run(): Promise<void> {
    this.ask()
    if (!this.#stop.aborted)
      await new Promise((resolve) => this.#stop.addEventListener('abort', resolve, { once: true }))
    void this.endWait()
    if (this.#asked.size > 0)
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve
      })
  }

  /** There may be more room than before. Handlers that need no time end in the same turn: one pull for all of them. */
  changed(): void {
    if (this.#asking) return
    this.#asking = true
    setImmediate(() => {
      this.#asking = false
      this.ask()
    })
  }

  /** Asks for as many messages as there is room for now. */
  ask(): void {
    for (let max = this.#next(); max > 0; max = this.#next()) void this.#pull(max)
  }

  /** Has the broker answer what waits: hanging up could lose messages that are on their way to a lease's end. */
  async endWait(): Promise<void> {
    while (this.#asked.size > 0 && !this.#hangUp.signal.aborted) {
      try {
        await Promise.all([...this.#asked.keys()].map((poll) => this.#source.cancel(poll)))
        if (!this.#stop.aborted) return
        // The answers are on their way, or the pulls themselves have not arrived yet.
        await sleep(CANCEL_PAUSE_MS, this.#hangUp.signal)
      } catch {
        if (!this.#stop.aborted) return
        this.#hangUp.abort()
      }
    }
  }

  hangUp(): void {
    this.#hangUp.abort()
  }

  /** How many messages to ask for now. */
  #next(): number {
    const { size } = this.#asked
    if (this.#stop.aborted || this.#pausing || size >= this.#pullsMax || (size > 0 && !this.#more)) return 0
    let free = this.#owner.room()
    for (const asked of this.#asked.values()) free -= asked
    return free < (size === 0 ? this.#enough : this.#piece) ? 0 : Math.min(free, this.#piece)
  }

  async #pull(max: number): Promise<void> {
    const poll = `${this.#name}-${++this.#pulls}`
    const { leaseMs, capacity, concurrency } = this.#options
    // One of them waits for messages; the others take what is there.
    const waitMs = this.#asked.size === 0 ? this.#options.waitMs : 0
    this.#asked.set(poll, max)
    const { outbox } = this.#owner
    const acks = this.#source.pullAcking === undefined ? [] : outbox.take()
    let time: (() => Promise<void>) | null = null
    try {
      const since = systemClock.monotonic()
      const { signal } = this.#hangUp
      let envelopes: Envelope[]
      if (acks.length > 0) {
        const answer = await this.#source.pullAcking!(acks, max, waitMs, leaseMs, poll, signal)
        outbox.taken(answer.results)
        envelopes = answer.envelopes
      } else {
        envelopes = await this.#source.pull(max, waitMs, leaseMs, poll, signal)
      }
      this.#retry.succeeded()
      this.#more = envelopes.length >= max
      this.#asked.delete(poll)
      this.#owner.took(envelopes, since)
      const few = envelopes.length > 0 && envelopes.length < max / 2
      // Messages come one by one: a moment's patience makes one request of many.
      if (few && capacity > concurrency) time = () => sleep(this.#source.lingerMs, this.#stop)
    } catch (error) {
      this.#more = false
      this.#asked.delete(poll)
      outbox.putBack(acks)
      if (!this.#stop.aborted) {
        this.#owner.failed(error as Error)
        time = () => this.#retry.pause(this.#stop)
      }
    }
    if (this.#asked.size === 0) this.#onIdle?.()
    if (time !== null) await this.#pause(time)
    this.changed()
  }

  /** Nothing is asked for until `time` resolves; a pause that another pull began is enough. */
  async #pause(time: () => Promise<void>): Promise<void> {
    if (this.#pausing) return
    this.#pausing = true
    await time()
    this.#pausing = false
  }
}
