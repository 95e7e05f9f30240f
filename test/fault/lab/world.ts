/**
 * A whole broker in a bottle: time, network and disk are the lab's, chance is seeded, so that a run is the same every
 * time. `crash` drops the process as SIGKILL and a power cut do; the disk stays.
 */

import { seededRandom } from '../../../src/base/random.ts'
import { type Built, build } from '../../../src/broker.ts'
import { type Config, type ConfigInput, configSchema } from '../../../src/config/schema.ts'
import type { Store } from '../../../src/store.ts'
import { MemoryDisk } from '../../../src/stores/embedded/memory-engine.ts'
import { EmbeddedStore } from '../../../src/stores/embedded/store.ts'
import { Events } from '../../../src/telemetry/events.ts'
import { type EngineRules, LabEngine, soundDisk } from './engine.ts'
import { LabLine } from './line.ts'
import { LabTime, LifeClock } from './time.ts'

/** Quiet turns of the event loop after which nothing will happen by itself. */
const QUIET_TURNS = 6

export interface WorldOptions {
  readonly seed: number
  readonly config?: ConfigInput
  /** What the disk does; everything passes by default. */
  readonly rules?: Partial<EngineRules>
  readonly disk?: MemoryDisk
  readonly time?: LabTime
  /** Stands between the broker and the store. */
  readonly wrap?: (store: Store) => Store
}

/** One process. */
interface Life extends Built {
  readonly clock: LifeClock
  readonly engine: LabEngine
}

export class LabWorld {
  readonly time: LabTime
  readonly disk: MemoryDisk
  /** What the broker itself calls a bug. */
  readonly internalErrors: string[] = []
  crashes = 0
  /** Called before each turn of the event loop in which the network delivers. */
  onTurn: (() => void) | null = null
  /** Whether bytes written before a crash reach their clients. */
  writesSurvive: () => boolean = () => true
  readonly #options: WorldOptions
  readonly #config: Config
  readonly #lines = new Set<LabLine>()
  #life: Life | null = null
  #crashed: () => void = () => {}
  /** Resolves with false when the process dies. */
  #over: Promise<false> = Promise.resolve(false)
  #starts = 0

  constructor(options: WorldOptions) {
    this.#options = options
    this.time = options.time ?? new LabTime()
    this.disk = options.disk ?? new MemoryDisk()
    this.#config = configSchema.parse({ store: 'memory', sys: { intervalSeconds: 0 }, ...options.config })
  }

  get running(): boolean {
    return this.#life !== null
  }
  /** The running broker. @throws when it is down */
  get life(): Life {
    if (this.#life === null) throw new Error('the broker is down')
    return this.#life
  }

  /** Starts a process on the disk as it is. False: it crashed, or gave up, while it started. */
  async start(): Promise<boolean> {
    if (this.#life !== null) throw new Error('the broker runs already')
    const { seed, rules = {}, wrap = (store: Store) => store } = this.#options
    const clock = new LifeClock(this.time)
    const all: EngineRules = {
      ...soundDisk,
      ...rules,
      crash: () => this.crash(),
    }
    const engine = new LabEngine(this.disk, all)
    const events = new Events()
    events.on('internalError', ({ where, error }) => {
      this.internalErrors.push(`${where}: ${error instanceof Error ? error.stack : String(error)}`)
    })
    const random = seededRandom(seed + 7919 * ++this.#starts)
    const store = wrap(new EmbeddedStore(engine, { clock }))
    const built = build({ config: this.#config, store, clock, random, events })
    const life: Life = { ...built, clock, engine }
    this.#life = life
    this.#over = new Promise((resolve) => {
      this.#crashed = () => resolve(false)
    })
    const ready = built.broker.listen().then(
      () => true,
      () => false,
    )
    const started = await this.#meanwhile(Promise.race([ready, this.#over]))
    if (!started && this.#life === life) this.crash()
    return started && this.#life === life
  }

  /** The process is gone, at this very moment. */
  crash(): void {
    const life = this.#life
    if (life === null) return
    this.#life = null
    this.crashes++
    this.#bury(life)
    for (const line of [...this.#lines]) line.orphan(this.writesSurvive())
    this.#lines.clear()
    this.#crashed()
  }

  /** Ends it in good order, as SIGTERM does, if it does not crash over it. */
  async stop(): Promise<void> {
    const { broker, queues } = this.life
    await this.#meanwhile(Promise.race([queues.close(), this.#over]))
    if (this.#life === null) return
    for (const { owner } of broker.core.sessions.values())
      owner?.disconnect(0x8b, 'the broker is shutting down', 'server_shutting_down')
    const closed = new Promise<void>((resolve) => broker.close(resolve))
    await this.#meanwhile(Promise.race([closed, this.#over]))
    const life = this.#life
    if (life === null) return
    this.#life = null
    this.#bury(life)
    for (const line of [...this.#lines]) line.orphan(true)
    this.#lines.clear()
  }

  /** A new network connection; null while the broker is down. */
  connect(): LabLine | null {
    if (this.#life === null) return null
    const line = new LabLine()
    this.#lines.add(line)
    this.#life.broker.accept(line)
    return line
  }

  get lines(): readonly LabLine[] {
    return [...this.#lines]
  }

  /** One turn of the event loop. */
  turn(): Promise<void> {
    return new Promise((resolve) => setImmediate(resolve))
  }

  /** Delivers what lies in the network, once each. True: something moved. */
  deliver(): boolean {
    let moved = false
    this.onTurn?.()
    for (const line of [...this.#lines]) {
      if (!line.busy) {
        if (line.isGone) this.#lines.delete(line)
        continue
      }
      moved = true
      line.deliverToBroker()
      line.deliverToClient()
    }
    return moved
  }

  /** Lets everything happen that happens without time going by. */
  async settle(): Promise<void> {
    for (let quiet = 0, turns = 0; quiet < QUIET_TURNS; turns++) {
      if (turns > 50_000) throw new Error('the broker does not come to rest')
      const before = this.#life?.engine.finished ?? 0
      const moved = this.deliver()
      await this.turn()
      quiet = moved || before !== (this.#life?.engine.finished ?? 0) ? 0 : quiet + 1
    }
  }

  /** Lets `ms` go by in steps, with everything that happens meanwhile. */
  async pass(ms: number, stepMs = 25): Promise<void> {
    await this.settle()
    for (let left = ms; left > 0; left -= stepMs) {
      this.time.advance(Math.min(stepMs, left))
      await this.settle()
    }
  }

  /** Waits while the lab's time and network go on. */
  async #meanwhile<T>(promise: Promise<T>): Promise<T> {
    let over = false
    const end = () => {
      over = true
    }
    promise.then(end, end)
    for (let turns = 0; !over; turns++) {
      if (turns > 50_000) throw new Error('the broker neither starts nor stops')
      this.deliver()
      await this.turn()
      if (turns % 8 === 7) this.time.advance(5)
    }
    return promise
  }

  #bury({ broker, clock, engine }: Life): void {
    engine.cut()
    clock.stop()
    // Aedes keeps two real timers, which would outlive the process we pretend it is.
    const timers = broker as unknown as { _heartbeatInterval?: NodeJS.Timeout; _clearWillInterval?: NodeJS.Timeout }
    clearInterval(timers._heartbeatInterval)
    clearInterval(timers._clearWillInterval)
  }
}
