import type { Clock } from '../base/clock.ts'
import type { Events } from '../telemetry/events.ts'
import type { Backpressure } from './backpressure.ts'
import type { Connection } from './connection.ts'
import type { Gate } from './gate.ts'
import type { Memory } from './memory.ts'
import { cutSlowReader } from './slow-reader.ts'
import type { Watch } from './watch.ts'

/** How often the process as a whole is looked at, and frozen readers while memory is short, in ms. */
const LOOK_MS = 1000
const RELIEVE_MS = 100

/** A reader that took nothing for this long counts as frozen while memory is short, in ms. */
const FROZEN_MS = 1000

/** Frozen readers are closed until the bytes that wait are down to this share of the budget. */
const RELIEVED_SHARE = 0.65

/** An unfinished packet below this size is not worth a connection, in bytes. */
const UNFINISHED_BYTES_MIN = 16 * 1024

export interface ReliefContext {
  readonly memory: Memory
  /** Memory of the process above which no new clients are let in, in bytes. */
  readonly memoryBytesMax: number
  readonly clock: Clock
  readonly events: Events
  readonly gate: Gate
  readonly watch: Watch
  readonly backpressure: Backpressure
  /** All connections. */
  connections(): Iterable<Connection>
  /** Memory of the process, in bytes. */
  ownBytes(): number
}

/** Does what `MemoryLevel` says. */
export class MemoryRelief {
  readonly #c: ReliefContext
  #cancelLook: (() => void) | null = null
  #cancelRelieve: (() => void) | null = null
  #announced = 0

  constructor(context: ReliefContext) {
    this.#c = context
    context.memory.connections = () => context.gate.connections
    context.memory.holdBack = (publisher) => context.backpressure.pauseForMemory(publisher)
    context.memory.onLevel = () => this.#levelChanged()
  }

  start(): void {
    this.#cancelLook = this.#c.clock.after(LOOK_MS, () => {
      this.#c.memory.overall = this.#c.ownBytes() > this.#c.memoryBytesMax
      this.start()
    })
  }

  stop(): void {
    this.#cancelLook?.()
    this.#cancelRelieve?.()
  }

  #levelChanged(): void {
    const { memory, gate, backpressure, memoryBytesMax } = this.#c
    gate.closedBecause = memory.refuses ? `memory is short: limits.memoryBytesMax is ${memoryBytesMax}` : null
    if (memory.level < 3) backpressure.memoryFreed()
    // Once for the way up and once for the way down, however often it trembles.
    const level = memory.refuses ? 4 : memory.level
    if (level > this.#announced || level === 0) {
      this.#announced = level
      const { heldBytes, budgetBytes } = memory
      this.#c.events.emit('memoryShort', { level, heldBytes, budgetBytes })
    }
    if (memory.level >= 2) this.#relieveLater(0)
  }

  #relieveLater(ms: number): void {
    if (this.#cancelRelieve !== null) return
    this.#cancelRelieve = this.#c.clock.after(ms, () => {
      this.#cancelRelieve = null
      if (this.#c.memory.level < 2) return
      this.#relieve()
      this.#relieveLater(RELIEVE_MS)
    })
  }

  /** Closes those that hold most and take nothing; where there are none, those whose packets do not come to an end. */
  #relieve(): void {
    const { memory, watch } = this.#c
    const enough = memory.budgetBytes * RELIEVED_SHARE
    const frozen: Connection[] = []
    const unfinished: Connection[] = []
    for (const c of this.#c.connections()) {
      if (c.out.heldBytes > 0 && watch.stalledForMs(c) >= FROZEN_MS) frozen.push(c)
      else if (c.unfinishedBytes >= UNFINISHED_BYTES_MIN) unfinished.push(c)
    }
    frozen.sort((a, b) => heldBy(b) - heldBy(a))
    unfinished.sort((a, b) => b.unfinishedBytes - a.unfinishedBytes)
    for (const c of frozen.length > 0 ? frozen : unfinished) {
      if (memory.heldBytes <= enough) return
      cutSlowReader(c, 'memory is short')
    }
  }
}

/** What closing the connection gives back; a persistent session's messages are not in memory. */
function heldBy(c: Connection): number {
  return c.out.heldBytes + (c.session?.pendingBytes ?? 0)
}
