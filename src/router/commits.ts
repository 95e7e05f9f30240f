import { type Clock, systemClock } from '../base/clock.ts'
import type { Store } from '../store.ts'

/** Who waits for acknowledgements: a connection. */
export interface AckReceiver {
  /** The packet's writes are durable: send PUBACK, PUBREC or PUBCOMP (`firstByte`). */
  committed(firstByte: number, packetId: number): void
  /** They are not, and nothing of them is kept. */
  notCommitted(firstByte: number, packetId: number, error: unknown): void
}

export interface Waiter {
  committed(): void
  notCommitted(error: unknown): void
}

/** Hears how commits go. */
export interface CommitObserver {
  succeeded(): void
  failed(error: unknown): void
}

/** A session that has newly committed messages to send. */
export interface Wakeable {
  wake(): void
}

/** How long durable writes that nobody waits for (a subscriber's acknowledgement) may stay in the open group, in ms. */
const LAZY_COMMIT_MS = 20

/** Pause before what a failed commit took back is written again, in ms. */
const AGAIN_MS = 250

/**
 * Gathers everything that waits for the disk during one turn of the event loop and serves it with one commit
 * (architecture invariant 1). Acknowledgements leave in the order in which they were asked for
 * [v5 MQTT-4.6.0-2], then the sessions and queues that got messages are woken.
 */
export class Commits {
  readonly #clock: Clock
  readonly #store: Store
  readonly #health: CommitObserver
  readonly #after: () => void
  #receivers: AckReceiver[] = []
  /** first byte (a reason code above it) × 65536 + Packet Identifier, parallel to #receivers. */
  #acks: number[] = []
  #waiters: Waiter[] = []
  #woken: Wakeable[] = []
  #scheduled = false
  /** Something waits in the open group that nobody waits for. */
  #lazy = false
  /** `time` while `#scheduled`; 0: nobody has asked. */
  #time = 0
  /** The timer for it runs. */
  #timed = false
  readonly #close = (): void => this.flush()
  #closed = false
  #wakes = false
  readonly #wakeSoon = (): void => {
    this.#wakes = false
    if (this.#woken.length > 0) this.#wake()
  }

  /** @param after called after each commit, whatever its outcome */
  constructor(store: Store, health: CommitObserver, after: () => void, clock: Clock = systemClock) {
    this.#clock = clock
    this.#store = store
    this.#health = health
    this.#after = after
  }

  ack(receiver: AckReceiver, firstByte: number, packetId: number): void {
    this.#receivers.push(receiver)
    this.#acks.push(firstByte * 65_536 + packetId)
    this.schedule()
  }

  wait(waiter: Waiter): void {
    this.#waiters.push(waiter)
    this.schedule()
  }

  /** Runs `again` when the store has had a moment to recover: for facts that a failed commit took back. */
  later(again: () => void): void {
    this.#clock.after(AGAIN_MS, () => {
      if (!this.#closed) again()
    })
  }

  /** The store is about to be closed: nothing is tried again. What is in it is gone on with at the next start. */
  close(): void {
    this.#closed = true
  }

  /** Resolves when everything written so far in this turn is durable. */
  done(): Promise<void> {
    return new Promise((committed, notCommitted) => this.wait({ committed, notCommitted }))
  }

  /**
   * Wakes the session after the acknowledgements of the commit that is being completed; when it is another node's commit, at
   * the end of this turn.
   */
  wakeLater(session: Wakeable): void {
    this.#woken.push(session)
    if (this.#store.shared === null || this.#wakes) return
    this.#wakes = true
    setImmediate(this.#wakeSoon)
  }

  /** Commits at the end of this turn. */
  schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(this.#close)
  }

  /**
   * Broker time, ms since 1970. What waits for the commit at the end of this turn came at one time: to read the clock for each
   * message costs more than to store one.
   */
  time(): number {
    if (!this.#scheduled) return this.#clock.now()
    if (this.#time === 0) this.#time = this.#clock.now()
    return this.#time
  }

  /** Commits soon, or with the next commit anybody waits for. */
  scheduleLazily(): void {
    if (this.#scheduled) return
    this.#lazy = true
    if (this.#timed) return
    this.#timed = true
    // It runs out whatever is committed meanwhile: with thousands of commits a second it would be set anew for each.
    this.#clock.after(LAZY_COMMIT_MS, () => {
      this.#timed = false
      if (this.#lazy) this.schedule()
    })
  }

  /** Commits now. */
  flush(): void {
    this.#scheduled = false
    this.#time = 0
    this.#lazy = false
    const receivers = this.#receivers
    const acks = this.#acks
    const waiters = this.#waiters
    this.#receivers = []
    this.#acks = []
    this.#waiters = []
    this.#store.commit().then(
      () => {
        this.#health.succeeded()
        for (let i = 0; i < receivers.length; i++) {
          const ack = acks[i]!
          receivers[i]!.committed(Math.floor(ack / 65_536), ack & 65_535)
        }
        for (const waiter of waiters) waiter.committed()
        this.#wake()
      },
      (error: unknown) => {
        this.#health.failed(error)
        for (let i = 0; i < receivers.length; i++) {
          const ack = acks[i]!
          receivers[i]!.notCommitted(Math.floor(ack / 65_536), ack & 65_535, error)
        }
        for (const waiter of waiters) waiter.notCommitted(error)
        this.#wake()
      },
    )
  }

  #wake(): void {
    const woken = this.#woken
    this.#woken = []
    for (const session of woken) session.wake()
    this.#after()
  }
}
