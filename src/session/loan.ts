import type { Group } from '../router/destinations.ts'
import type { Origin } from '../router/message.ts'
import { Publication } from '../router/publication.ts'
import { copyByWords } from '../wire/words.ts'

/** Packets are kept side by side in pieces of this size, each of which lives as long as the last of its packets. */
const PIECE_BYTES = 8 * 1024
/** Larger packets get memory of their own. */
const SMALL_BYTES_MAX = 1024
const RING_MIN = 16

let piece = Buffer.alloc(0)
let view = new DataView(piece.buffer)
let used = 0
const again = new Publication()

/**
 * A message of a shared subscription that a member without durable state has not acknowledged: it may go to another. Few do, so
 * what is kept is the packet as it came; its stored form is made when somebody asks for it.
 */
export class Loan {
  readonly group: Group
  readonly qos: number
  /** Called when it is acknowledged, or goes nowhere or to another; null: nobody asks. */
  readonly done: (() => void) | null
  /** False: the client may have it already. */
  sent = false
  /** Its place among what was sent to the member. */
  seq = 0
  /** The stored form, or the packet. */
  #buf: Buffer
  #start = 0
  #bodyStart = 0
  #end = 0
  #version5 = false
  #time = 0
  /** Null: `#buf` is the stored form. */
  #origin: Origin | null = null

  /** @param message its stored form; null: `keep` follows */
  constructor(group: Group, qos: number, message: Buffer | null, done: (() => void) | null) {
    this.group = group
    this.qos = qos
    this.done = done
    this.#buf = message ?? piece
  }

  /** The stored form. */
  get message(): Buffer {
    if (this.#origin !== null) {
      again.parse(this.#buf, this.#start, this.#bodyStart, this.#end, this.#version5)
      this.#buf = again.store(this.#origin, this.#time)
      this.#origin = null
    }
    return this.#buf
  }

  /**
   * Takes a copy of a message that is on its way.
   * @param time wall clock in ms
   */
  keep(publication: Publication, origin: Origin, time: number): void {
    if (!publication.isPacket) {
      this.#buf = publication.store(origin, time)
      return
    }
    const { buf, start, end } = publication
    const bytes = end - start
    if (bytes > SMALL_BYTES_MAX) {
      this.#buf = Buffer.allocUnsafeSlow(bytes)
      buf.copy(this.#buf, 0, start, end)
    } else {
      if (used + bytes > piece.length) renew()
      this.#buf = piece
      this.#start = used
      if (!copyByWords(buf, start, end, view, used)) buf.copy(piece, used, start, end)
      used += bytes
    }
    this.#bodyStart = this.#start + publication.topicStart - 2 - start
    this.#end = this.#start + bytes
    this.#version5 = publication.version5
    this.#time = time
    this.#origin = origin
  }
}

function renew(): void {
  piece = Buffer.allocUnsafeSlow(PIECE_BYTES)
  view = new DataView(piece.buffer)
  used = 0
}

/** What a session has of shared subscriptions and has not acknowledged, by sequence number. */
export class Loans {
  /** By the last bits of the sequence number; large enough that no two meet. */
  #ring: (Loan | null)[] | null = null

  /** The message is being sent. */
  lend(seq: number, loan: Loan | null): void {
    if (loan === null) return
    loan.sent = true
    loan.seq = seq
    this.#ring ??= new Array<Loan | null>(RING_MIN).fill(null)
    while (this.#ring[seq & (this.#ring.length - 1)]) this.#grow(this.#ring)
    this.#ring[seq & (this.#ring.length - 1)] = loan
  }

  /** The message is the client's now. */
  repay(seq: number): void {
    const ring = this.#ring
    if (ring === null) return
    const loan = ring[seq & (ring.length - 1)]!
    if (loan?.seq !== seq) return
    ring[seq & (ring.length - 1)] = null
    loan.done?.()
  }

  /** All of them, oldest first; they are no longer the session's. */
  take(): Loan[] {
    const loans = (this.#ring ?? []).filter((loan) => loan !== null)
    this.#ring = null
    return loans.sort((a, b) => a.seq - b.seq)
  }

  /** Numbers that differ in their last bits go on doing so: nothing meets in the larger ring. */
  #grow(ring: readonly (Loan | null)[]): void {
    const larger = new Array<Loan | null>(ring.length * 2).fill(null)
    for (const loan of ring) if (loan) larger[loan.seq & (larger.length - 1)] = loan
    this.#ring = larger
  }
}
