import { SluiceError } from '../errors.ts'
import { packetIdOf, SEQ_SPAN_MAX, seqOf } from './packet-ids.ts'

/**
 * Where the exchange of one QoS 1 or QoS 2 message to the client stands ([v5 4.3] [v3 4.3]).
 *
 *                     ┌── PUBLISH QoS 1 ──▶ awaitingPuback ── PUBACK ──┐
 *     none ───────────┤                                               ├──▶ none
 *                     └── PUBLISH QoS 2 ──▶ awaitingPubrec            │
 *                                             │ PUBREC                │
 *                                             ▼                       │
 *                                           releasing                 │
 *                                             │ durable, PUBREL       │
 *                                             ▼                       │
 *                                           awaitingPubcomp ─ PUBCOMP ┘
 */
export const Exchange = {
  none: 0,
  awaitingPuback: 1,
  awaitingPubrec: 2,
  releasing: 3,
  awaitingPubcomp: 4,
} as const
export type Exchange = (typeof Exchange)[keyof typeof Exchange]

const SLOTS_MIN = 16

/**
 * The messages sent to one client and not acknowledged: a ring of one byte per sequence number between the oldest
 * unacknowledged and the newest sent. It starts small and grows to what the client leaves unacknowledged.
 */
export class Inflight {
  /** No message below this is unacknowledged. */
  #base: number
  /** One past the newest sequence number sent. */
  #next: number
  #states: Uint8Array = new Uint8Array(SLOTS_MIN)
  /** Messages unacknowledged. */
  count = 0

  constructor(firstSeq: number) {
    this.#base = firstSeq
    this.#next = firstSeq
  }

  get next(): number {
    return this.#next
  }

  /** True when `seq` may be sent without its Packet Identifier meeting one in use. */
  fits(seq: number): boolean {
    return this.count === 0 || Math.max(this.#next, seq + 1) - Math.min(this.#base, seq) <= SEQ_SPAN_MAX
  }

  /**
   * Records that `seq` is sent; returns its Packet Identifier. In order, but for a session that is resumed: its PUBRELs
   * come before its PUBLISH packets. What lies outside base and next is `none` in the ring.
   */
  open(seq: number, state: Exchange): number {
    if (this.count === 0) {
      this.#base = seq
      this.#next = seq
    }
    const base = Math.min(this.#base, seq)
    const next = Math.max(this.#next, seq + 1)
    if (next - base > this.#states.length) this.#grow(next - base)
    this.#base = base
    this.#next = next
    this.#states[seq & (this.#states.length - 1)] = state
    this.count++
    return packetIdOf(seq)
  }

  /** The sequence number under way with this Packet Identifier, or -1. */
  find(packetId: number): number {
    if (this.count === 0) return -1
    const seq = seqOf(packetId, this.#base)
    return seq < this.#next && this.#states[seq & (this.#states.length - 1)] !== 0 ? seq : -1
  }

  state(seq: number): Exchange {
    return this.#states[seq & (this.#states.length - 1)] as Exchange
  }

  move(seq: number, state: Exchange): void {
    this.#states[seq & (this.#states.length - 1)] = state
  }

  /** The exchange of `seq` is complete. */
  close(seq: number): void {
    const mask = this.#states.length - 1
    this.#states[seq & mask] = 0
    this.count--
    if (seq === this.#base) {
      let base = seq + 1
      while (base < this.#next && this.#states[base & mask] === 0) base++
      this.#base = base
    }
  }

  #grow(span: number): void {
    const old = this.#states
    let slots = old.length
    while (slots < span) slots *= 2
    const states = new Uint8Array(slots)
    for (let seq = this.#base; seq < this.#next; seq++) states[seq & (slots - 1)] = old[seq & (old.length - 1)]!
    this.#states = states
  }
}

/** An acknowledgement that does not fit its exchange. */
export function wrongAck(name: string, packetId: number): SluiceError {
  return new SluiceError('protocol_error', `${name} for Packet Identifier ${packetId}, which waits for another packet`)
}
