/**
 * Small answers (acknowledgements) gathered while a chunk is read and sent with one write at its end.
 *
 * Two buffers take turns: while the kernel has not taken the first, answers gather in the second.
 */
import type { Link } from './link.ts'

const INITIAL_BYTES = 4096

export class Outbox {
  #filling: Buffer = Buffer.alloc(0)
  #spare: Buffer = Buffer.alloc(0)
  #length = 0

  /** Adds an acknowledgement: PUBACK, PUBREC, PUBREL or PUBCOMP without properties. */
  acknowledge(header: number, packetIdHigh: number, packetIdLow: number): void {
    if (this.#length + 4 > this.#filling.length) this.#grow(4)
    const out = this.#filling
    const at = this.#length
    out[at] = header
    out[at + 1] = 2
    out[at + 2] = packetIdHigh
    out[at + 3] = packetIdLow
    this.#length = at + 4
  }

  add(bytes: Buffer): void {
    if (this.#length + bytes.length > this.#filling.length) this.#grow(bytes.length)
    bytes.copy(this.#filling, this.#length)
    this.#length += bytes.length
  }

  /** Sends what has gathered unless the link is busy; the owner calls again when the link has flushed. */
  flush(link: Link): void {
    if (this.#length === 0 || link.busy) return
    const sent = this.#filling
    const length = this.#length
    this.#length = 0
    if (!link.send(sent, 0, length)) {
      this.#filling = this.#spare
      this.#spare = sent
    }
  }

  #grow(extra: number): void {
    const larger = Buffer.allocUnsafeSlow(Math.max(INITIAL_BYTES, (this.#length + extra) * 2))
    this.#filling.copy(larger, 0, 0, this.#length)
    this.#filling = larger
  }
}
