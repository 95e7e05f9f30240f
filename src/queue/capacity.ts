import type { Clock } from '../base/clock.ts'
import { type Forecast, forecast, type Measured } from './forecast.ts'
import { MeanMeter, RateMeter } from './meter.ts'
import type { WorkQueue } from './queue.ts'

/** Workers are those that asked or answered within this time, in ms. */
const WORKER_MS = 60_000
/** Workers told apart for each queue. */
const WORKERS_MAX = 10_000

/** Mean wait that is asked for when nobody says otherwise, in seconds. */
export const TARGET_WAIT_SECONDS = 1

/** Measures one queue, a sample every few seconds: nothing is done per message. */
export class Capacity {
  readonly #queue: WorkQueue
  readonly #clock: Clock
  readonly #written = new RateMeter()
  readonly #done = new RateMeter()
  readonly #service = new MeanMeter()
  /** When each worker was last heard of, monotonic ms. */
  readonly #workers = new Map<string, number>()

  constructor(queue: WorkQueue, clock: Clock) {
    this.#queue = queue
    this.#clock = clock
  }

  sample(): void {
    const now = this.#clock.monotonic()
    const { arrived, counters } = this.#queue
    this.#written.sample(arrived, now)
    this.#done.sample(counters.acked, now)
    this.#service.sample(counters.servedMs, counters.acked, now)
    for (const [worker, at] of this.#workers) if (at + WORKER_MS < now) this.#workers.delete(worker)
  }

  /** A worker that has a name pulls, answers or says that it is there. */
  heard(worker: string): void {
    if (this.#workers.has(worker) || this.#workers.size < WORKERS_MAX)
      this.#workers.set(worker, this.#clock.monotonic())
  }

  /** Of workers without a name only what they do at one time is known: messages leased and pulls that wait. */
  get workers(): number {
    return Math.max(this.#workers.size, this.#queue.leased + this.#queue.pullsWaiting)
  }

  measured(workers = this.workers): Measured {
    const { waiting, waitingBytes, settings } = this.#queue
    const writeRate = this.#written.perSecond
    return {
      writeRate,
      serviceRate: this.#done.perSecond,
      serviceSeconds: this.#service.mean / 1000,
      workers,
      waiting,
      waitingBytes,
      writeBytesRate: waiting === 0 ? 0 : (writeRate * waitingBytes) / waiting,
      messagesMax: settings.limits.messagesMax,
      bytesMax: settings.limits.bytesMax,
    }
  }

  forecast(targetWaitSeconds: number, workers?: number): Forecast {
    return forecast(this.measured(workers), targetWaitSeconds)
  }
}
