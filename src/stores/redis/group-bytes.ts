/**
 * The bytes of a group, as the script `group` reads them. Numbers are big-endian; s4 is a u32 length and that many bytes.
 *
 *     u32 bodies   { u8 length and id, u32 references, s4 body }
 *     u32 lanes    { s4 name, u8 dropped first, u32 appends, u32 their bytes,
 *                    appends: u8 described, s4 entry, if described s4 topic, clientId, qos, time, payload
 *                    u32 marks: u48 seq, u8 present, s4 bytes
 *                    u32 runs settled: u48 first seq, u32 entries, u32 their bytes
 *                    u32 settlements: u48 seq, u32 bytes or ffffffff, u8 length and id of the shared body }
 *     u32 tables   { u8 op, s4 key, s4 more, s4 value, s4 other }
 */
import { type Group, type LaneWrites, UNKNOWN } from './group.ts'
import type { MessageCodec, MessageParts } from './message-codec.ts'

const NO_EXTRA = 0xffffffff
/** Fewer settlements that follow each other are written one by one. */
const RUN_MIN = 4
const RUN_BYTES_MAX = 0xffffffff

/** A buffer that grows; what `take` returns is the caller's. */
class Writer {
  #buf = Buffer.allocUnsafe(64 * 1024)
  #at = 0

  #room(bytes: number): void {
    if (this.#at + bytes <= this.#buf.length) return
    const larger = Buffer.allocUnsafe(Math.max(this.#buf.length * 2, this.#at + bytes))
    this.#buf.copy(larger, 0, 0, this.#at)
    this.#buf = larger
  }
  u8(value: number): void {
    this.#room(1)
    this.#buf[this.#at++] = value
  }
  u32(value: number): void {
    this.#room(4)
    this.#at = this.#buf.writeUInt32BE(value, this.#at)
  }
  u48(value: number): void {
    this.#room(6)
    this.#at = this.#buf.writeUIntBE(value, this.#at, 6)
  }
  bytes(value: Buffer, from = 0): void {
    this.#room(value.length - from)
    this.#at += value.copy(this.#buf, this.#at, from)
  }
  text(value: string): void {
    const bytes = Buffer.byteLength(value)
    this.u32(bytes)
    this.#room(bytes)
    this.#at += this.#buf.write(value, this.#at)
  }
  value(value: string | Buffer): void {
    if (typeof value === 'string') return this.text(value)
    this.u32(value.length)
    this.bytes(value)
  }
  id(value: string): void {
    this.u8(value.length)
    this.#room(value.length)
    this.#at += this.#buf.write(value, this.#at, 'latin1')
  }
  /** Leaves room for a u32 that is not known yet. */
  hole(): number {
    this.u32(0)
    return this.#at - 4
  }
  fill(hole: number, value: number): void {
    this.#buf.writeUInt32BE(value, hole)
  }
  take(): Buffer {
    const taken = Buffer.from(this.#buf.subarray(0, this.#at))
    this.#at = 0
    if (this.#buf.length > 4 * 1024 * 1024) this.#buf = Buffer.allocUnsafe(64 * 1024)
    return taken
  }
}

export class GroupEncoder {
  readonly #codec: MessageCodec | null
  readonly #out = new Writer()

  constructor(codec: MessageCodec | null) {
    this.#codec = codec
  }

  encode(group: Group): Buffer {
    const out = this.#out
    const bodies = group.bodies.filter(({ refs }) => refs > 0)
    out.u32(bodies.length)
    for (const { id, refs, message } of bodies) {
      out.id(id)
      out.u32(refs)
      out.value(message)
    }
    out.u32(group.lanes.length)
    for (const writes of group.lanes) this.#lane(writes)
    out.u32(group.tables.length)
    for (const { op, key, more, value, other } of group.tables) {
      out.u8(op.charCodeAt(0))
      out.text(key)
      out.text(more)
      out.value(value)
      out.text(other)
    }
    return out.take()
  }

  #lane(writes: LaneWrites): void {
    const out = this.#out
    const { lane, messages, settled, marks } = writes
    const codec = lane.name.startsWith('q/') ? this.#codec : null
    out.text(lane.name)
    out.u8(writes.drops ? 1 : 0)
    out.u32(messages.length)
    out.u32(writes.bytes)
    for (let i = 0; i < messages.length; i++) {
      const parts = codec?.parts(messages[i]!) ?? null
      if (parts === null) this.#compact(writes, i)
      else this.#described(writes, i, parts)
    }
    out.u32(marks?.size ?? 0)
    for (const [seq, { bytes }] of marks ?? []) {
      out.u48(seq)
      out.u8(bytes === null ? 0 : 1)
      out.value(bytes ?? '')
    }
    const singles = this.#runs(writes)
    out.u32(singles)
    for (let i = 0; i < settled.length && singles > 0; ) {
      const run = runFrom(writes, i)
      const end = i + (run >= RUN_MIN ? run : 1)
      if (run < RUN_MIN) {
        out.u48(settled[i]!)
        out.u32(writes.settledSizes[i]!)
        out.id(writes.settledShared[i]!)
      }
      i = end
    }
  }

  /** Writes the runs among the settlements. Returns how many are in none. */
  #runs(writes: LaneWrites): number {
    const out = this.#out
    const { settled, settledSizes } = writes
    const countAt = out.hole()
    let runs = 0
    let singles = 0
    for (let i = 0; i < settled.length; ) {
      const run = runFrom(writes, i)
      if (run < RUN_MIN) {
        singles++
        i++
        continue
      }
      let bytes = 0
      for (let k = i; k < i + run; k++) bytes += settledSizes[k]!
      out.u48(settled[i]!)
      out.u32(run)
      out.u32(bytes)
      runs++
      i += run
    }
    out.fill(countAt, runs)
    return singles
  }

  #compact(writes: LaneWrites, i: number): void {
    const out = this.#out
    const message = writes.messages[i]!
    const shared = writes.shared?.[i] ?? null
    out.u8(0)
    const rest = shared === null ? message.length : 4 + shared.id.length
    this.#head(writes, i, shared === null ? 0 : 1, rest)
    if (shared === null) {
      out.bytes(message)
    } else {
      out.u32(message.length)
      out.bytes(Buffer.from(shared.id, 'latin1'))
    }
  }

  #described(writes: LaneWrites, i: number, parts: MessageParts): void {
    const out = this.#out
    const message = writes.messages[i]!
    out.u8(1)
    this.#head(writes, i, 2, parts.payloadStart)
    out.bytes(message.subarray(0, parts.payloadStart))
    out.text(parts.topic)
    out.text(parts.clientId)
    out.text(String(parts.qos))
    out.text(String(parts.time))
    out.u32(message.length - parts.payloadStart)
    out.bytes(message, parts.payloadStart)
  }

  #head(writes: LaneWrites, i: number, kind: number, rest: number): void {
    const out = this.#out
    const extra = writes.extras?.[i] ?? null
    out.u32(9 + (extra?.length ?? 0) + rest)
    out.u8(kind)
    out.u32(writes.tags[i]!)
    out.u32(extra === null ? NO_EXTRA : extra.length)
    if (extra !== null) out.bytes(extra)
  }
}

/** How many settlements from the i-th on are of entries that follow each other, of known size, with bodies of their own. */
function runFrom({ settled, settledSizes, settledShared }: LaneWrites, i: number): number {
  let bytes = 0
  let k = i
  while (k < settled.length && settled[k] === settled[i]! + (k - i)) {
    const size = settledSizes[k]!
    if (size === UNKNOWN || settledShared[k] !== '' || bytes + size > RUN_BYTES_MAX) break
    bytes += size
    k++
  }
  return k - i
}

export interface DecodedEntry {
  readonly tag: number
  readonly extra: Buffer | null
  readonly message: Buffer
  /** Id of the shared body, or null. */
  readonly shared: string | null
}

/**
 * @param value the field `m`, and behind it the field `payload` where there is one
 * @param bodies the shared bodies that were read with it
 */
export function decodeEntry(value: Buffer, bodies: ReadonlyMap<string, Buffer>): DecodedEntry {
  const tag = value.readUInt32BE(1)
  const extraBytes = value.readUInt32BE(5)
  const bodyAt = 9 + (extraBytes === NO_EXTRA ? 0 : extraBytes)
  const extra = extraBytes === NO_EXTRA ? null : value.subarray(9, bodyAt)
  const body = value.subarray(bodyAt)
  if (value[0] === 1) {
    const shared = body.toString('latin1', 4)
    return { tag, extra, message: bodies.get(shared) ?? Buffer.alloc(0), shared }
  }
  return { tag, extra, message: body, shared: null }
}
