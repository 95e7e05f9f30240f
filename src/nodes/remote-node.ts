import type { Elsewhere } from '../router/destinations.ts'
import type { Lane, LaneTarget } from '../store.ts'
import { encodeFrames, type Frame } from './frames.ts'

/** Live messages to one node go out at the latest when they have this many bytes. */
const BATCH_BYTES = 256 * 1024

/** Another node, as the router sees it: a place messages go to. */
export class RemoteNode implements Elsewhere {
  readonly nodeId: string
  /** What has to arrive waits here until that node has taken it. */
  readonly mailbox: Lane
  /** The mailbox as a receiver of messages of QoS 1 and 2. */
  readonly target: LaneTarget
  readonly #send: (frames: Buffer) => boolean
  readonly #dropped: (count: number) => void
  #frames: Frame[] = []
  #bytes = 0
  #scheduled = false
  /** Number of the publication it got last: it gets each one once, however many filters match. */
  #publication = 0
  readonly #flush = (): void => this.flush()

  /**
   * @param send at most once, in order; false: not at all
   * @param dropped hears of messages that were not sent
   */
  constructor(nodeId: string, mailbox: Lane, send: (frames: Buffer) => boolean, dropped: (count: number) => void) {
    this.nodeId = nodeId
    this.mailbox = mailbox
    this.target = { lane: mailbox, tag: 0, extra: null }
    this.#send = send
    this.#dropped = dropped
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
    if (!this.#send(encodeFrames(frames))) this.#dropped(frames.length)
  }
}
