/**
 * What was read, looked at in words of four and eight bytes: recognising and copying short ranges that way is three to five times
 * faster than byte by byte, and than a call into native code, which costs an object besides.
 */

/** Making a view costs more than it saves on less than this. */
const VIEWED_BYTES_MIN = 1024
const WORD = 8

// The buffer looked at last, and the view of its memory. All sockets read into one memory, so that a view is seldom made.
let buffer: Uint8Array | null = null
let memory: ArrayBufferLike = new ArrayBuffer(0)
let view: DataView = new DataView(memory)
let offset = 0
let viewed = false

function look(buf: Uint8Array): void {
  const itsMemory = buf.buffer
  buffer = buf
  offset = buf.byteOffset
  viewed = itsMemory === memory || buf.length >= VIEWED_BYTES_MIN
  if (itsMemory === memory || !viewed) return
  memory = itsMemory
  view = new DataView(memory)
}

/** Copies `buf[start..end)` to `target` at `at`. False, and nothing is done, when it is faster some other way. */
export function copyByWords(buf: Buffer, start: number, end: number, target: DataView, at: number): boolean {
  if (buf !== buffer) look(buf)
  if (!viewed) return false
  let from = offset + start
  const last = offset + end
  let to = at
  for (; from + 4 <= last; from += 4, to += 4) target.setInt32(to, view.getInt32(from, true), true)
  for (; from < last; from++, to++) target.setInt8(to, view.getInt8(from))
  return true
}

/**
 * Bytes that a connection sends again and again, to be recognised in what was read.
 *
 * Words are compared as floating-point numbers, the one type of eight bytes that costs no allocation. Two different words may be
 * equal as numbers only when both are zero, and a word that is not a number equals nothing: bytes with such words are compared one
 * by one.
 */
export class RepeatedBytes {
  readonly #bytes: Buffer
  /** All whole words, then the last eight bytes, which overlap the word before; null: to be compared one by one. */
  readonly #words: Float64Array | null
  readonly length: number

  /** Takes a copy of `buf[start..end)`. */
  constructor(buf: Buffer, start: number, end: number) {
    this.length = end - start
    this.#bytes = Buffer.allocUnsafeSlow(this.length)
    buf.copy(this.#bytes, 0, start, end)
    this.#words = wordsOf(this.#bytes)
  }

  /** Whether `buf[at..end)` begins with these bytes. */
  is(buf: Buffer, at: number, end: number): boolean {
    if (at + this.length > end) return false
    if (buf !== buffer) look(buf)
    const words = this.#words
    if (words === null || !viewed) return this.#slowly(buf, at)
    const last = words.length - 1
    let pos = offset + at
    for (let i = 0; i < last; i++) {
      if (view.getFloat64(pos, true) !== words[i]) return false
      pos += WORD
    }
    return view.getFloat64(offset + at + this.length - WORD, true) === words[last]
  }

  #slowly(buf: Buffer, at: number): boolean {
    const bytes = this.#bytes
    for (let i = bytes.length - 1; i >= 0; i--) if (buf[at + i] !== bytes[i]) return false
    return true
  }
}

function wordsOf(bytes: Buffer): Float64Array | null {
  if (bytes.length < WORD) return null
  const words = new Float64Array(Math.ceil(bytes.length / WORD))
  for (let i = 0; i < words.length; i++) {
    const word = bytes.readDoubleLE(Math.min(i * WORD, bytes.length - WORD))
    if (word === 0 || Number.isNaN(word)) return null
    words[i] = word
  }
  return words
}
