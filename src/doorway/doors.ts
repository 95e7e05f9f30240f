import type { Clock } from '../base/clock.ts'
import type { Door, DoorFacts } from '../door.ts'
import { SluiceError } from '../errors.ts'
import type { WorkQueue } from '../queue/queue.ts'
import { prefetchOf, QueueDoor } from './queue-door.ts'

/** Pauses between two looks, in ms: while something happens, and at most while workers have messages, messages lie there, nothing does. */
const BUSY_MS = 4
const TAKEN_MS = 50
const LYING_MS = 100
const IDLE_MS = 1000
/** After a look there is time for others, this many times as long as it took. */
const REST = 3
/** Longest pause while the place does not answer, in ms. */
const RETRY_MS = 1000
/** How long leaving may take, in ms. */
const LEAVE_MS = 2000

export interface DoorsParts {
  readonly door: Door
  readonly queues: Iterable<WorkQueue>
  readonly clock: Clock
  /** How much longer the queue's leases are than those of workers outside, in ms: time for another node to take over. */
  readonly graceMs: number
  failed(where: string, error: unknown): void
}

/**
 * The doors of the work queues: each queue that is to have one (`redisWorkers`) is worked, on behalf of workers outside, through a
 * place they can reach. One exchange with the place serves all doors; how often, depends on what happens there.
 *
 *     apart ──start──▶ unsure ──begin──▶ keeping ──stop──▶ apart
 *                        ▲                 │ └──another node leads──▶ apart
 *                        └──no answer──────┘
 */
export class Doors {
  readonly #p: DoorsParts
  readonly #doors = new Map<string, QueueDoor>()
  #state: 'apart' | 'unsure' | 'keeping' = 'apart'
  #running = false
  /** Whether something lies outside from before is known. */
  #asked = false
  /** Something came up while an exchange was under way. */
  #again = false
  #leaving = false
  #pauseMs = BUSY_MS
  #cancel: (() => void) | null = null
  #failures = 0

  constructor(parts: DoorsParts) {
    this.#p = parts
  }

  start(): void {
    if (this.#state !== 'apart') return
    this.#state = 'unsure'
    this.#hurry()
  }

  /** What nobody has taken comes in; what workers have stays with them. */
  async stop(): Promise<void> {
    if (this.#state === 'apart') return
    const { clock, door } = this.#p
    this.#leaving = true
    const late = clock.monotonic() + LEAVE_MS
    for (const each of this.#doors.values()) each.leave()
    while (this.#state === 'keeping' && clock.monotonic() < late && !(await this.#left())) {
      this.#hurry()
      await new Promise<void>((resolve) => clock.after(BUSY_MS, resolve))
    }
    this.#state = 'apart'
    this.#cancel?.()
    door.close()
  }

  /** Undefined: the queue has no door. */
  factsOf(queue: string): DoorFacts | undefined {
    const door = this.#doors.get(queue)
    if (door === undefined) return undefined
    return { place: this.#p.door.placeOf(queue), lying: door.lying, taken: door.taken, workers: door.workers }
  }

  async #left(): Promise<boolean> {
    for (const each of this.#doors.values()) if (!(await each.left())) return false
    return !this.#running
  }

  #hurry(): void {
    if (this.#running) this.#again = true
    else this.#schedule(0)
  }

  #schedule(ms: number): void {
    this.#cancel?.()
    this.#cancel = this.#p.clock.after(ms, () => void this.#run())
  }

  async #run(): Promise<void> {
    if (this.#running || this.#state === 'apart') return
    this.#running = true
    this.#again = false
    const begun = this.#p.clock.monotonic()
    try {
      await this.#step()
      this.#failures = 0
    } catch (error) {
      this.#stumbled(error)
    }
    this.#running = false
    if (this.#state === ('apart' as string)) return
    const tookMs = this.#p.clock.monotonic() - begun
    if (this.#failures > 0) this.#schedule(Math.min(RETRY_MS, 20 * 2 ** this.#failures))
    else this.#schedule(this.#again ? 0 : Math.max(this.#pauseMs, tookMs * REST))
  }

  async #step(): Promise<void> {
    const { door } = this.#p
    this.#open()
    if (this.#state === 'unsure' && (this.#doors.size > 0 || !this.#asked)) {
      this.#open(await door.begin(this.#doors.size > 0))
      this.#asked = true
      if (this.#doors.size > 0) this.#state = 'keeping'
    }
    const due = [...this.#doors.values()].filter((each) => each.due)
    if (due.length > 0) {
      const reports = await door.exchange(due.map((each) => each.order()))
      reports.forEach((report, i) => {
        const each = due[i]!
        each.report(report)
        if (each.closed) this.#doors.delete(each.queue.name)
      })
    }
    this.#pace()
  }

  /** Queues that are to have a door have one, and those of which something may lie outside. */
  #open(alsoOf: readonly string[] = []): void {
    const { queues, clock, graceMs, failed } = this.#p
    if (this.#leaving) return
    for (const queue of queues) {
      const { name } = queue
      if (this.#doors.has(name) || (prefetchOf(queue) === 0 && !alsoOf.includes(name))) continue
      const hurry = (): void => this.#hurry()
      const stumbled = (error: unknown): void => failed(`the door of queue ${name}`, error)
      this.#doors.set(name, new QueueDoor({ queue, clock, graceMs, hurry, failed: stumbled }))
    }
  }

  #pace(): void {
    let most = IDLE_MS
    let busy = false
    for (const each of this.#doors.values()) {
      busy ||= each.busy
      most = Math.min(most, each.taken > 0 ? TAKEN_MS : each.lying > 0 ? LYING_MS : IDLE_MS)
    }
    this.#pauseMs = busy ? BUSY_MS : Math.min(most, this.#pauseMs * 2)
  }

  #stumbled(error: unknown): void {
    this.#failures++
    for (const each of this.#doors.values()) each.lost()
    if (error instanceof SluiceError && error.code === 'node_fenced') {
      this.#state = 'apart'
      return
    }
    this.#state = 'unsure'
    if (!(error instanceof SluiceError)) this.#p.failed('the doors', error)
  }
}
