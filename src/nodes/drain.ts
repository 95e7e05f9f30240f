import type { Clock } from '../base/clock.ts'
import type { Connection } from '../connection/connection.ts'
import { move } from '../connection/goodbye.ts'

/** Clients are moved in this many steps. */
const STEPS_PER_SECOND = 10

export interface DrainContext {
  readonly clock: Clock
  connections(): Connection[]
  /** Tells the other nodes. */
  announce(draining: boolean): Promise<void>
}

/**
 * Empties this node before it is stopped: new clients are sent elsewhere, those connected are closed a few at a time, so that the
 * nodes that take them are not flooded.
 *
 *     serving ──begin──▶ draining ──last client closed──▶ drained
 *        ▲                  │                               │
 *        └──────────────────┴────────── cancel ─────────────┘
 */
export class Drain {
  readonly #c: DrainContext
  #state: 'serving' | 'draining' | 'drained' = 'serving'
  #serverReference: string | null = null
  #run = 0

  constructor(context: DrainContext) {
    this.#c = context
  }

  get state(): 'serving' | 'draining' | 'drained' {
    return this.#state
  }

  /** Where clients should go instead ([v5 3.2.2.3.16]); null: they know others, or find the same address served by another. */
  get serverReference(): string | null {
    return this.#serverReference
  }

  /** @param overMs time over which clients are closed; resolves when the last one is */
  async begin(overMs: number, serverReference: string | null): Promise<void> {
    const run = ++this.#run
    this.#serverReference = serverReference
    this.#state = 'draining'
    await this.#c.announce(true)
    const steps = Math.max(1, Math.floor((overMs / 1000) * STEPS_PER_SECOND))
    for (let step = 0; step < steps && this.#run === run; step++) {
      const open = this.#c.connections()
      if (open.length === 0) break
      for (const connection of open.slice(0, Math.ceil(open.length / (steps - step))))
        move(connection, this.#serverReference)
      await new Promise<void>((resolve) => this.#c.clock.after(overMs / steps, resolve))
    }
    if (this.#run !== run) return
    // Who came in between, before every listener knew.
    for (const connection of this.#c.connections()) move(connection, this.#serverReference)
    this.#state = 'drained'
  }

  /** Serves clients again. */
  async cancel(): Promise<void> {
    this.#run++
    this.#state = 'serving'
    this.#serverReference = null
    await this.#c.announce(false)
  }
}
