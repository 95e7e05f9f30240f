import type { Clock } from '../base/clock.ts'
import { SluiceError } from '../errors.ts'
import type { Delivery } from '../queue/delivery.ts'
import type { WorkQueue } from '../queue/queue.ts'

/** A pull is asked for anew after this long, in ms. */
const POLL_MS = 60_000
/** Pause after a pull that failed, in ms. */
const RETRY_MS = 1000
/** Messages of one pull: each is one group of the store. */
const PULL_MAX = 1000
/** Where other workers had nothing to do, nothing is taken out for this long, in ms. */
const YIELD_MS = 1000

/** What is at the door at this moment. */
export interface Outside {
  /** Nobody has these. */
  readonly lying: number
  readonly taken: number
  /** It is as many bytes as may be. */
  readonly full: boolean
}

/**
 * How much is leased for workers outside. With none of them to be seen, one message at a time looks for one (a worker that waits in
 * silence is seen no other way), and where other workers have nothing to do, it soon goes to them.
 */
export class Prefetch {
  readonly #queue: WorkQueue
  readonly #clock: Clock
  readonly #leaseMs: () => number
  readonly #take: (deliveries: Delivery[]) => void
  readonly #failed: (error: unknown) => void
  #pull: AbortController | null = null
  #yieldsUntil = 0
  #stopped = false

  /** @param leaseMs of a pull @param take what was pulled */
  constructor(
    queue: WorkQueue,
    clock: Clock,
    leaseMs: () => number,
    take: (deliveries: Delivery[]) => void,
    failed: (error: unknown) => void,
  ) {
    this.#queue = queue
    this.#clock = clock
    this.#leaseMs = leaseMs
    this.#take = take
    this.#failed = failed
  }

  /** Other workers of this queue have nothing to do. */
  get othersWait(): boolean {
    return this.#queue.pullsWaiting > (this.#pull === null ? 0 : 1)
  }

  /** Leaves what comes next to the others. */
  yield(): void {
    this.#yieldsUntil = this.#clock.monotonic() + YIELD_MS
    this.#abort()
  }

  /** @param present workers were seen @param prefetch messages outside at most; 0: none any more */
  fill(present: boolean, prefetch: number, { lying, taken, full }: Outside): void {
    if (this.#stopped) return
    if (prefetch === 0) return this.#abort()
    const window = present ? prefetch : 1
    const room = present ? window - lying - taken : window - lying
    if (this.#pull !== null || room <= 0 || full) return
    // Small pulls for every place that comes free would cost a commit each.
    if (room < window / 2 && lying > window / 4) return
    if (this.#clock.monotonic() < this.#yieldsUntil && this.othersWait) return
    void this.#run(Math.min(room, PULL_MAX))
  }

  stop(): void {
    this.#stopped = true
    this.#abort()
  }

  #abort(): void {
    this.#pull?.abort()
    this.#pull = null
  }

  async #run(max: number): Promise<void> {
    const pull = new AbortController()
    this.#pull = pull
    try {
      const deliveries = await this.#queue.pull(max, this.#leaseMs(), POLL_MS, pull.signal)
      if (this.#pull === pull) this.#pull = null
      if (pull.signal.aborted) this.#queue.release(deliveries)
      else this.#take(deliveries)
    } catch (error) {
      if (!(error instanceof SluiceError)) this.#failed(error)
      if (error instanceof SluiceError && error.code === 'server_shutting_down') this.#stopped = true
      this.#clock.after(RETRY_MS, () => {
        if (this.#pull === pull) this.#pull = null
      })
    }
  }
}
