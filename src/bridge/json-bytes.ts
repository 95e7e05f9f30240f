import { copyBytes } from '../wire/copy.ts'

const QUOTE = 0x22
const BACKSLASH = 0x5c
/** Longer strings are left to native code, in bytes. */
const LOOP_MAX = 4096

/** By byte: what follows the backslash, where there has to be one. SPELLED: more than a letter. */
const ESCAPES = new Uint8Array(256)
const SPELLED = 1
ESCAPES.fill(SPELLED, 0, 0x20)
for (const [byte, letter] of ['\bb', '\tt', '\nn', '\ff', '\rr', '""', '\\\\'])
  ESCAPES[byte!.charCodeAt(0)] = letter!.charCodeAt(0)

/** JSON text as it grows, in bytes: nothing is made for the parts. */
export class JsonBytes {
  #out: Buffer
  #length = 0

  /** @param bytes expected; it grows when there are more */
  constructor(bytes: number) {
    this.#out = Buffer.allocUnsafeSlow(bytes)
  }

  get length(): number {
    return this.#length
  }

  /** Takes back what was written beyond this length. */
  cut(length: number): void {
    this.#length = length
  }

  /** What was written so far. Nothing may be written afterwards. */
  get bytes(): Buffer {
    return this.#out.subarray(0, this.#length)
  }

  /** Text of ASCII characters that JSON does not escape, or that is JSON. */
  ascii(text: string): void {
    this.#room(text.length)
    const out = this.#out
    let at = this.#length
    for (let i = 0; i < text.length; i++) out[at++] = text.charCodeAt(i)
    this.#length = at
  }

  /** Bytes of JSON. */
  raw(bytes: Buffer): void {
    this.#room(bytes.length)
    this.#length = copyBytes(bytes, 0, bytes.length, this.#out, this.#length)
  }

  /** A string, from the bytes of it, which must be UTF-8. */
  string(bytes: Buffer, start: number, end: number): void {
    if (end - start > LOOP_MAX) return this.json(JSON.stringify(bytes.toString('utf8', start, end)))
    this.#room(2 * (end - start) + 2)
    const out = this.#out
    let at = this.#length
    out[at++] = QUOTE
    for (let i = start; i < end; i++) {
      const byte = bytes[i]!
      const letter = ESCAPES[byte]!
      if (letter === 0) out[at++] = byte
      else if (letter === SPELLED) return this.json(JSON.stringify(bytes.toString('utf8', start, end)))
      else {
        out[at++] = BACKSLASH
        out[at++] = letter
      }
    }
    out[at++] = QUOTE
    this.#length = at
  }

  /** Bytes as a string in base64. */
  base64(bytes: Buffer, start: number, end: number): void {
    this.ascii(`"${bytes.toString('base64', start, end)}"`)
  }

  /** Anything that is JSON. */
  json(text: string): void {
    // UTF-16 to UTF-8: a code unit makes three bytes at most.
    this.#room(text.length <= LOOP_MAX ? text.length * 3 : Buffer.byteLength(text))
    this.#length += this.#out.write(text, this.#length)
  }

  #room(bytes: number): void {
    if (this.#length + bytes <= this.#out.length) return
    const larger = Buffer.allocUnsafeSlow(Math.max(2 * this.#out.length, this.#length + bytes))
    this.#out.copy(larger, 0, 0, this.#length)
    this.#out = larger
  }
}
