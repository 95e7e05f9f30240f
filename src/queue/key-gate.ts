import type { Clock } from '../base/clock.ts'
import { Heap, type HeapItem } from './heap.ts'
import { LeaseTimer } from './lease-timer.ts'
import { RateLimit } from './rate.ts'
import type { KeySettings } from './settings.ts'

/** What is known of one ordering key while any of its messages is under way. */
export class KeyState implements HeapItem {
  /** Monotonic ms at which the rate lets the next one go. */
  key = 0
  heapIndex = -1
  readonly name: string
  /** Messages with a worker, or waiting for their next attempt. */
  unsettled = 0
  readonly rate = new RateLimit()
  /** Sequence numbers of messages that wait for their turn, in order. */
  #parked: number[] = []
  #first = 0

  constructor(name: string) {
    this.name = name
  }

  get parked(): number {
    return this.#parked.length - this.#first
  }

  park(seq: number): void {
    this.#parked.push(seq)
  }

  next(): number {
    const seq = this.#parked[this.#first++]!
    if (this.#first > 64 && this.#first * 2 > this.#parked.length) {
      this.#parked = this.#parked.slice(this.#first)
      this.#first = 0
    }
    return seq
  }
}

/**
 * Lets the messages of one ordering key go one after the other (or as many at a time as `leasedMax` says), while those of
 * other keys pass by. Only busy keys are kept in memory, and of the messages that have to wait only their numbers.
 *
 *     seen ──key free──▶ with workers ──acked, dead-lettered──▶ gone; the next one of the key may go
 *       └──key busy────▶ parked ───────its turn───────────────▶ with workers
 */
export class KeyGate {
  /** A parked message may go: called with its sequence number and its key. */
  onFree: ((seq: number, state: KeyState) => void) | null = null
  readonly #settings: () => KeySettings
  readonly #clock: Clock
  readonly #states = new Map<string, KeyState>()
  /** Keys whose rate is used up. */
  readonly #slow = new Heap<KeyState>()
  readonly #timer: LeaseTimer
  #parked = 0

  constructor(settings: () => KeySettings, clock: Clock, onDue: () => void) {
    this.#settings = settings
    this.#clock = clock
    this.#timer = new LeaseTimer(clock, this.#slow, () => {
      this.#due()
      onDue()
    })
  }

  /** Messages that were looked past. */
  get parked(): number {
    return this.#parked
  }

  /** No further message may be looked at. */
  get full(): boolean {
    return this.#parked >= this.#settings().parkedMax
  }

  /** Keys in memory. */
  get size(): number {
    return this.#states.size
  }

  /** A message of the key comes by. Its state when it may go; null: it is parked, and `onFree` calls when it may. */
  pass(name: string, seq: number): KeyState | null {
    const state = this.#stateOf(name)
    if (state.parked === 0 && this.#mayGo(state)) {
      this.#go(state)
      return state
    }
    state.park(seq)
    this.#parked++
    return null
  }

  /** A message of the key is under way from before a restart. */
  restore(name: string): KeyState {
    const state = this.#stateOf(name)
    state.unsettled++
    return state
  }

  /** A message of the key is gone for good. */
  done(state: KeyState): void {
    state.unsettled--
    this.#advance(state)
  }

  stop(): void {
    this.onFree = null
    this.#timer.stop()
  }

  #stateOf(name: string): KeyState {
    let state = this.#states.get(name)
    if (state === undefined) {
      state = new KeyState(name)
      this.#states.set(name, state)
    }
    return state
  }

  #mayGo(state: KeyState): boolean {
    const settings = this.#settings()
    return state.unsettled < settings.leasedMax && state.rate.waitMs(settings, this.#clock.monotonic()) === 0
  }

  #go(state: KeyState): void {
    const settings = this.#settings()
    state.unsettled++
    state.rate.spend(settings, this.#clock.monotonic())
    if (settings.perSecond > 0) this.#slowDown(state)
  }

  /** Lets go who may, and forgets a key of which nothing is left to know. */
  #advance(state: KeyState): void {
    while (state.parked > 0 && this.#mayGo(state)) {
      this.#parked--
      this.#go(state)
      this.onFree?.(state.next(), state)
    }
    if (state.unsettled === 0 && state.parked === 0 && state.heapIndex < 0) this.#states.delete(state.name)
  }

  /** Comes back to the key when its rate allows another one: to let it go, or to forget the key. */
  #slowDown(state: KeyState): void {
    const now = this.#clock.monotonic()
    this.#slow.remove(state)
    state.key = Math.max(now + state.rate.waitMs(this.#settings(), now), now + 1)
    this.#slow.push(state)
    this.#timer.arm()
  }

  #due(): void {
    const now = this.#clock.monotonic()
    for (let state = this.#slow.peek(); state !== undefined && state.key <= now; state = this.#slow.peek()) {
      this.#slow.pop()
      if (state.parked === 0 && state.unsettled === 0 && state.rate.fullAt > now) {
        // Its burst is not whole yet: that has to be remembered.
        state.key = state.rate.fullAt
        this.#slow.push(state)
      } else {
        this.#advance(state)
      }
    }
  }
}
