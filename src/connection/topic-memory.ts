import { ownMemory } from '../base/own-memory.ts'
import type { Match } from '../router/match.ts'
import { PropertyMemory } from '../wire/publish.ts'

const SLOTS = 32

/**
 * The topics a connection published to last, and who gets them: a device repeats a few topics for ever, so that most
 * packets are recognised by their bytes, without a string or a look-up. Direct-mapped: a topic has one place, and the
 * newer one keeps it. Only checked Topic Names are remembered.
 */
export class TopicMemory {
  /** The properties that came with them, of MQTT 5. */
  readonly properties = new PropertyMemory()
  readonly #topics: (Buffer | null)[] = new Array(SLOTS).fill(null)
  readonly #matches: (Match | null)[] = new Array(SLOTS).fill(null)
  /** The place used last: packets of one topic come in rows. */
  #last = 0

  /** The match remembered for the topic in `buf[start..end)`, or null. It may be out of date. */
  find(buf: Buffer, start: number, end: number): Match | null {
    if (isTopic(this.#topics[this.#last]!, buf, start, end)) return this.#matches[this.#last]!
    const slot = slotOf(buf, start, end)
    if (!isTopic(this.#topics[slot]!, buf, start, end)) return null
    this.#last = slot
    return this.#matches[slot]!
  }

  put(buf: Buffer, start: number, end: number, match: Match): void {
    const slot = slotOf(buf, start, end)
    if (!isTopic(this.#topics[slot]!, buf, start, end)) this.#topics[slot] = ownMemory(buf.subarray(start, end))
    this.#matches[slot] = match
    this.#last = slot
  }
}

function isTopic(topic: Buffer | null, buf: Buffer, start: number, end: number): boolean {
  if (topic === null || topic.length !== end - start) return false
  for (let i = topic.length - 1; i >= 0; i--) if (buf[start + i] !== topic[i]) return false
  return true
}

/** FNV-1a over the bytes (Fowler, Noll and Vo), folded. */
function slotOf(buf: Buffer, start: number, end: number): number {
  let hash = 0x811c9dc5
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ buf[i]!, 0x01000193)
  return (hash ^ (hash >>> 16)) & (SLOTS - 1)
}
