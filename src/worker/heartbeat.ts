import { hostname } from 'node:os'
import { systemClock } from '../base/clock.ts'
import { systemRandom } from '../base/random.ts'
import type { WorkerCommand, WorkerFacts, WorkSource } from './source.ts'

const EVERY_MS = 10_000

export interface HeartOwner {
  facts(): WorkerFacts
  /** What the broker answered. */
  told(command: WorkerCommand): void
}

/** Beats while the worker lives. A beat that fails is of no consequence: the next one counts. */
export class Heart {
  readonly id: string
  readonly #source: WorkSource
  readonly #everyMs: number
  readonly #owner: HeartOwner
  #cancel: (() => void) | null = null
  #stopped = false

  constructor(source: WorkSource, { id, everyMs = EVERY_MS }: { id?: string; everyMs?: number }, owner: HeartOwner) {
    this.id = id ?? `${hostname()}-${process.pid}-${systemRandom.id(3)}`
    this.#source = source
    this.#everyMs = everyMs
    this.#owner = owner
    source.onTold = (command) => owner.told(command)
    setImmediate(() => void this.#beat())
  }

  stop(): void {
    this.#stopped = true
    this.#cancel?.()
  }

  async #beat(): Promise<void> {
    if (this.#stopped) return
    try {
      const command = await this.#source.heartbeat!(this.id, {
        ...this.#owner.facts(),
        host: hostname(),
        pid: process.pid,
      })
      if (!this.#stopped) this.#owner.told(command)
    } catch {
      // The worker hears of a broker that is away by its pulls.
    }
    if (!this.#stopped) this.#cancel = systemClock.after(this.#everyMs, () => void this.#beat())
  }
}
