import type { Counters } from '../telemetry/counters.ts'
import type { ByteStream } from '../transport.ts'
import { copyBytes } from '../wire/copy.ts'
import type { PublishFrame } from '../wire/publish.ts'
import { type EncodedPublish, encodePublish, patchPublish, publishBytes, writePublish } from '../wire/publish-writer.ts'
import { copyByWords } from '../wire/words.ts'
import type { Flusher } from './flusher.ts'
import type { Memory } from './memory.ts'
import { LARGEST_SLAB_CLASS, returnSlab, type Slab, slabBytes, takeSlab } from './slabs.ts'

/** Up to so many bytes a loop over words is faster than a call into native code. */
const COPY_BY_WORDS_MAX = 192

/** So much is not gathered with more: the slab is free for the next receiver, instead of one for each until the turn ends. */
const SEND_AT_ONCE_BYTES = 16 * 1024

/** Whose packets are sent. */
export interface OutboundOwner {
  /** The stream holds bytes back, or no longer does. */
  stalls(waiting: boolean): void
}

/**
 * What one connection sends. Packets are copied into a borrowed buffer, which goes to the stream once per event-loop
 * turn or when it is full.
 */
export class Outbound {
  readonly #stream: ByteStream
  readonly #flusher: Flusher
  readonly #counters: Counters
  readonly #owner: OutboundOwner
  #stalled = false
  #slab: Slab | null = null
  #used = 0
  #sizeClass = 0
  #dirty = false
  #closed = false
  /** The stream holds so much back that it will tell when it has sent everything. */
  #full = false
  /** Bytes of memory that wait for the operating system: slabs, and large packets as they are. */
  heldBytes = 0
  readonly #memory: Memory
  /** Slabs given to the stream, and lengths of what is no slab, oldest first: the stream is done with them in that order. */
  #lent: (Slab | number)[] = []
  readonly #written = (): void => {
    const done = this.#lent.shift()
    if (typeof done === 'number') this.#hold(-done)
    else if (done !== undefined) {
      this.#hold(-done.bytes.length)
      returnSlab(done)
    }
    // An empty array keeps the memory of what was in it, unless it is told.
    if (this.#lent.length === 0) this.#lent.length = 0
  }
  /** Bytes the operating system had not taken after the last write. */
  #unsent = 0
  /** Packets sent since the connection opened. */
  packets = 0
  /** As many of them are in the broker's counters. */
  #countedPackets = 0
  /** Bytes of PUBLISH packets that are not in the broker's counters yet. */
  #publishBytes = 0
  /** Bytes given to the stream since the connection opened. */
  #givenBytes = 0

  constructor(stream: ByteStream, flusher: Flusher, counters: Counters, memory: Memory, owner: OutboundOwner) {
    this.#memory = memory
    this.#counters = counters
    this.#stream = stream
    this.#flusher = flusher
    this.#owner = owner
  }

  /** Bytes the operating system has taken. */
  get takenBytes(): number {
    return this.#givenBytes - this.#stream.bufferedBytes
  }

  /** Bytes waiting: in the borrowed buffer and in the stream (as of the last write). */
  get waitingBytes(): number {
    return this.#used + this.#unsent
  }

  /** Appends bytes as they are. They must not change any more; large ones are not copied. */
  append(src: Buffer, start: number, end: number): void {
    const bytes = end - start
    this.#publishBytes += bytes
    if (!this.#room(bytes)) return this.#large(src.subarray(start, end))
    this.#copy(src, start, end)
    if (bytes >= SEND_AT_ONCE_BYTES || this.#memory.level > 0) this.#sendAtOnce()
  }

  /** Appends bytes that will not change any more; large ones are not copied. */
  write(bytes: Buffer): void {
    this.packets++
    if (this.#room(bytes.length)) this.#copy(bytes, 0, bytes.length)
    else this.#large(bytes)
  }

  /**
   * Appends a PUBLISH with its own first byte and Packet Identifier. A packet that is larger than any slab is not copied:
   * only its beginning is made anew, the rest is sent from where it lies.
   */
  publish(encoded: EncodedPublish, firstByte: number, packetId: number): void {
    this.packets++
    const { buf, start, end, packetIdOffset } = encoded
    this.#publishBytes += end - start
    const whole = this.#room(end - start)
    if (!whole && packetIdOffset === 0 && buf[start] === firstByte) {
      this.#large(buf.subarray(start, end))
      return
    }
    const head = whole ? end : start + Math.max(1, packetIdOffset + 2)
    if (!whole && !this.#room(head - start)) {
      // A topic as long as a slab.
      const copy = Buffer.from(buf.subarray(start, end))
      patchPublish(copy, 0, firstByte, packetIdOffset, packetId)
      this.#large(copy)
      return
    }
    const at = this.#used
    this.#copy(buf, start, head)
    patchPublish(this.#slab!.bytes, at, firstByte, packetIdOffset, packetId)
    if (!whole) this.#large(buf.subarray(head, end))
    else if (this.#memory.level > 0) this.#sendAtOnce()
  }

  /** Appends a PUBLISH of QoS 1 or 2 that is encoded for this receiver alone, where it is sent from. */
  encode(frame: PublishFrame, version5: boolean, prefix: Buffer | null, firstByte: number, packetId: number): void {
    const bytes = publishBytes(frame, version5, true, prefix, true)
    if (!this.#room(bytes)) return this.publish(encodePublish(frame, version5, true, prefix), firstByte, packetId)
    this.packets++
    this.#publishBytes += bytes
    const slab = this.#slab!.bytes
    const at = this.#used
    patchPublish(slab, at, firstByte, writePublish(frame, version5, true, prefix, true, slab, at), packetId)
    this.#used = at + bytes
    if (this.#memory.level > 0) this.#sendAtOnce()
  }

  /** Appends the four-byte form of PUBACK, PUBREC, PUBREL or PUBCOMP. */
  ack(firstByte: number, packetId: number): void {
    this.packets++
    if (!this.#room(4)) return
    const { bytes } = this.#slab!
    let at = this.#used
    bytes[at++] = firstByte
    bytes[at++] = 2
    bytes[at++] = packetId >> 8
    bytes[at++] = packetId & 255
    this.#used = at
  }

  /**
   * The turn of the event loop is over: hands everything to the stream, unless that is full. Then a slab is filled first:
   * one for each turn would take many times the memory of what is in it.
   */
  endTurn(): void {
    if (!this.#full || this.#closed) return this.flush()
    this.#dirty = false
    this.#count()
    this.#measure()
  }

  /** Hands everything to the stream. */
  flush(): void {
    this.#dirty = false
    if (!this.#closed) this.#count()
    if (this.#slab !== null) this.#send()
    else this.#measure()
  }

  #count(): void {
    this.#counters.packetsSent += this.packets - this.#countedPackets
    this.#counters.publishBytesSent += this.#publishBytes
    this.#countedPackets = this.packets
    this.#publishBytes = 0
  }

  /** The stream told that everything written has been taken. */
  drained(): void {
    this.#full = false
    if (this.#slab !== null) this.#send()
    else this.#measure()
  }

  /** Drops what is not sent; nothing is sent any more. */
  close(): void {
    this.#closed = true
    this.#used = 0
    this.#memory.add(-this.heldBytes)
    this.heldBytes = 0
    if (this.#slab !== null) returnSlab(this.#slab)
    this.#slab = null
  }

  #hold(bytes: number): void {
    if (this.#closed) return
    this.heldBytes += bytes
    this.#memory.add(bytes)
  }

  /** Makes room for n bytes in the slab; false when no slab is large enough (or the connection is closed). */
  #room(n: number): boolean {
    // Writing on costs less than asking everywhere: the bytes go into a slab that is never sent.
    if (this.#closed) this.#used = 0
    if (!this.#dirty) {
      this.#dirty = true
      this.#flusher.add(this)
    }
    const slab = this.#slab
    if (slab !== null && this.#used + n <= slab.bytes.length) return true
    if (slab !== null) {
      if (this.#sizeClass < LARGEST_SLAB_CLASS) this.#sizeClass++
      this.#send()
    }
    if (this.#memory.level > 0) this.#sizeClass = 0
    while (n > slabBytes(this.#sizeClass)) {
      if (this.#sizeClass === LARGEST_SLAB_CLASS) return false
      this.#sizeClass++
    }
    this.#slab = takeSlab(this.#sizeClass)
    this.#hold(this.#slab.bytes.length)
    return true
  }

  #copy(src: Buffer, start: number, end: number): void {
    const { bytes, view } = this.#slab!
    const count = end - start
    const at = this.#used
    this.#used = at + count
    if (count > COPY_BY_WORDS_MAX || !copyByWords(src, start, end, view, at)) copyBytes(src, start, end, bytes, at)
  }

  #large(bytes: Buffer): void {
    if (this.#closed) return
    if (this.#slab !== null) this.#send()
    this.#givenBytes += bytes.length
    this.#counters.bytesSent += bytes.length
    this.#lent.push(bytes.length)
    this.#hold(bytes.length)
    this.#full = !this.#stream.write(bytes, this.#written)
    this.#measure()
  }

  /**
   * True while fewer than `bytesMax` wait for the operating system. What has only gathered here since the turn began is
   * sent before the answer is no: a reader is not slow because much came for it at once.
   */
  hasRoom(bytesMax: number): boolean {
    if (this.#used + this.#unsent < bytesMax) return true
    if (this.#slab !== null) this.#send()
    else this.#measure()
    return this.#unsent < bytesMax
  }

  /** Bytes waiting, with what the stream has taken meanwhile: it tells by itself only when much was waiting. */
  unsentBytes(): number {
    this.#measure()
    return this.waitingBytes
  }

  #sendAtOnce(): void {
    if (!this.#full && !this.#closed && this.#slab !== null) this.#send()
  }

  #measure(): void {
    this.#unsent = this.#stream.bufferedBytes
    const stalled = this.#unsent > 0
    if (stalled !== this.#stalled || stalled) {
      this.#stalled = stalled
      this.#owner.stalls(stalled)
    }
  }

  #send(): void {
    const slab = this.#slab!
    const used = this.#used
    this.#slab = null
    this.#used = 0
    if (used === 0 || this.#closed) {
      this.#hold(-slab.bytes.length)
      returnSlab(slab)
      return
    }
    if (used * 8 < slab.bytes.length && this.#sizeClass > 0) this.#sizeClass--
    this.#lent.push(slab)
    this.#givenBytes += used
    this.#counters.bytesSent += used
    this.#full = !this.#stream.write(slab.bytes.subarray(0, used), this.#written)
    if (this.#stream.bufferedBytes === 0 && this.#lent.at(-1) === slab) {
      // Taken at once: there is no need to wait until the stream says so.
      this.#lent[this.#lent.length - 1] = 0
      this.#hold(-slab.bytes.length)
      returnSlab(slab)
    }
    this.#measure()
  }
}
