import type { Elsewhere } from '../router/destinations.ts'
import type { Lane, LaneTarget } from '../store.ts'
import { encodeFrames, type Frame } from './frames.ts'

/** Live messages to one node go out at the latest when they have this many bytes. */
const BATCH_BYTES = 256 * 1024
/** With so many bytes under way the node does not keep up: who publishes to it is slowed down. */
const CROWDED_BYTES = 768 * 1024
/** It keeps up again. More than what a node takes without saying so. */
const CLEAR_BYTES = 128 * 1024

/** Slows publishers down for somebody who does not keep up; see connection/backpressure.ts. */
export interface Crowding {
  full(who: object): void
  drained(who: object): void
}

/** The way to another node. */
export interface Route {
  /** At most once, in order; false: not at all. */
  send(frames: Buffer): boolean
  /** Bytes under way. */
  untaken(): number
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
  readonly #route: Route
  readonly #backpressure: Crowding
  #crowded = false
  #frames: Frame[] = []
  #bytes = 0
  #scheduled = false
  /** Number of the publication it got last: it gets each one once, however many filters match. */
  #publication = 0
  readonly #flush = (): void => this.flush()

  constructor(nodeId: string, mailbox: Lane, route: Route, backpressure: Crowding) {
    this.nodeId = nodeId
    this.mailbox = mailbox
    this.target = { lane: mailbox, tag: 0, extra: null }
    this.#route = route
    this.#backpressure = backpressure
  }

  /** True the first time it is asked about a publication. */
  takes(publication: number): boolean {
    if (this.#publication === publication) return false
    this.#publication = publication
    return true
  }

  /**
   * Sends a message at most once: with everything else of this turn.
   * @param group key of the shared subscription of which one member there is to get it; empty: everybody who is subscribed
   */
  live(message: Buffer, group: string): void {
    this.#frames.push({ message, group })
    this.#bytes += message.length
    if (this.#crowded) this.#backpressure.full(this)
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
    if (!this.#route.send(encodeFrames(frames))) this.#route.dropped(frames.length)
    if (this.#route.untaken() >= CROWDED_BYTES) this.#crowded = true
  }

  /** The node has taken something. */
  taken(): void {
    if (!this.#crowded || this.#route.untaken() > CLEAR_BYTES) return
    this.#crowded = false
    this.#backpressure.drained(this)
  }

  /** The node is not there any more: nobody waits for it. */
  gone(): void {
    this.#backpressure.drained(this)
  }
}
