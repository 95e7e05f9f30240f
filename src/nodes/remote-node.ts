import type { Clock } from '../base/clock.ts'
import type { Cluster } from '../cluster.ts'
import type { Elsewhere } from '../router/destinations.ts'
import type { Lane, LaneTarget } from '../store.ts'
import { encodeFrames, type Frame } from './frames.ts'

/** Live messages to one node go out at the latest when they have this many bytes. */
const BATCH_BYTES = 256 * 1024
/** With so many bytes under way the node does not keep up: who publishes to it is slowed down. */
const CROWDED_BYTES = 768 * 1024
/** How long publishers wait for it at most, in ms. Longer than for a subscriber: a whole node is behind it, and it may just not have had the CPU. */
const PATIENCE_MS = 250
/** It keeps up again. More than what a node takes without saying so. */
const CLEAR_BYTES = 128 * 1024

/** Slows publishers down for somebody who does not keep up; see connection/backpressure.ts. */
export interface Crowding {
  full(who: object, patienceMs: number): void
  drained(who: object): void
}

/** What the way to another node is made of. */
export interface Ways {
  readonly cluster: Pick<Cluster, 'send' | 'untaken'>
  readonly clock: Pick<Clock, 'now'>
  readonly backpressure: Crowding
  /** Hears of messages that were not sent. */
  dropped(count: number): void
}

/** Another node, as the router sees it: a place messages go to. */
export class RemoteNode implements Elsewhere {
  readonly nodeId: string
  /** What has to arrive waits here until that node has taken it. */
  readonly mailbox: Lane
  /** The mailbox as a receiver of messages of QoS 1 and 2. */
  readonly target: LaneTarget
  readonly #ways: Ways
  #time = 0
  #crowded = false
  #frames: Frame[] = []
  #bytes = 0
  #scheduled = false
  /** Number of the publication it got last: it gets each one once, however many filters match. */
  #publication = 0
  readonly #flush = (): void => this.flush()

  constructor(nodeId: string, mailbox: Lane, ways: Ways) {
    this.nodeId = nodeId
    this.mailbox = mailbox
    this.target = { lane: mailbox, tag: 0, extra: null }
    this.#ways = ways
  }

  /** True the first time it is asked about a publication. */
  takes(publication: number): boolean {
    if (this.#publication === publication) return false
    this.#publication = publication
    return true
  }

  /** Broker time, ms since 1970, for what goes out together: to read the clock for each message costs more than to send one. */
  get time(): number {
    if (this.#time === 0) this.#time = this.#ways.clock.now()
    return this.#time
  }

  /**
   * Sends a message at most once: with everything else of this turn.
   * @param group key of the shared subscription of which one member there is to get it; empty: everybody who is subscribed
   */
  live(message: Buffer, group: string): void {
    this.#frames.push({ message, group })
    this.#bytes += message.length
    if (this.#crowded) this.#ways.backpressure.full(this, PATIENCE_MS)
    if (this.#bytes >= BATCH_BYTES) this.flush()
    else if (!this.#scheduled) {
      this.#scheduled = true
      setImmediate(this.#flush)
    }
  }

  flush(): void {
    this.#scheduled = false
    if (this.#frames.length === 0) return
    const frames = this.#frames
    this.#frames = []
    this.#bytes = 0
    this.#time = 0
    const { cluster, dropped } = this.#ways
    if (!cluster.send(this.nodeId, encodeFrames(frames))) dropped(frames.length)
    if (cluster.untaken(this.nodeId) >= CROWDED_BYTES) this.#crowded = true
  }

  /** The node has taken something. */
  taken(): void {
    if (!this.#crowded || this.#ways.cluster.untaken(this.nodeId) > CLEAR_BYTES) return
    this.#crowded = false
    this.#ways.backpressure.drained(this)
  }

  /** The node is not there any more: nobody waits for it. */
  gone(): void {
    this.#ways.backpressure.drained(this)
  }
}
