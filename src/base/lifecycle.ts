/** Starts parts in order and stops them in the opposite order. */

export interface Part {
  /** For messages: "store", "mqtt listener". */
  readonly name: string
  start?(): void | Promise<void>
  stop?(): void | Promise<void>
}

export type LifecycleState = 'idle' | 'starting' | 'running' | 'stopping' | 'stopped'

/**
 *     idle ──start──▶ starting ──all started──▶ running ──stop──▶ stopping ──▶ stopped
 *                        └──a part fails: those before it are stopped──────────▶┘
 */
export class Lifecycle {
  #state: LifecycleState = 'idle'
  readonly #parts: Part[]
  /** Parts whose start has returned, first started first. */
  readonly #started: Part[] = []
  #starting: Promise<void> | null = null
  #stopping: Promise<void> | null = null

  constructor(parts: readonly Part[]) {
    this.#parts = [...parts]
  }

  get state(): LifecycleState {
    return this.#state
  }

  /** Starts every part, one after the other. When one fails, stops those that stand and rejects with its error. */
  start(): Promise<void> {
    if (this.#state !== 'idle') throw new Error(`start in state ${this.#state}`)
    this.#starting = this.#startAll()
    return this.#starting
  }

  /**
   * Stops every started part, last first, waiting for each; a start under way ends first. A part that fails to stop does
   * not keep the others from stopping. Always the same promise. Rejects with what failed, after everything was tried.
   */
  stop(): Promise<void> {
    this.#stopping ??= this.#stopAll()
    return this.#stopping
  }

  async #startAll(): Promise<void> {
    this.#state = 'starting'
    for (const part of this.#parts) {
      // Someone called `stop` while the part before was starting.
      if (this.#stopping !== null) return
      try {
        await part.start?.()
      } catch (error) {
        this.#stopping ??= this.#stopStarted()
        // The error of the start is the one worth telling.
        await this.#stopping.catch(() => {})
        throw error
      }
      this.#started.push(part)
    }
    if (this.#stopping === null) this.#state = 'running'
  }

  async #stopAll(): Promise<void> {
    await this.#starting?.catch(() => {})
    await this.#stopStarted()
  }

  async #stopStarted(): Promise<void> {
    this.#state = 'stopping'
    const errors: unknown[] = []
    for (const part of this.#started.splice(0).reverse()) {
      try {
        await part.stop?.()
      } catch (error) {
        errors.push(new Error(`stopping ${part.name} failed`, { cause: error }))
      }
    }
    this.#state = 'stopped'
    if (errors.length === 1) throw errors[0]
    if (errors.length > 1) throw new AggregateError(errors, `${errors.length} parts failed to stop`)
  }
}
