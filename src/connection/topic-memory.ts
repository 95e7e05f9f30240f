import type { Match } from '../router/match.ts'
import { PropertyMemory } from '../wire/property-memory.ts'
import { RepeatedBytes } from '../wire/words.ts'

const SLOTS = 32
/** Places a topic may have, from the one its hash names. */
const PROBES = 4

/** Packets of one topic until it is worth remembering how they begin. */
const USES_BEFORE_OPENING = 16

/**
 * The topics a connection published to last, and who gets them: a device repeats a few topics for ever, often in the same order,
 * so that most packets are recognised by their bytes, without a string or a look-up. A topic for which there is no place
 * takes that of another. Only checked Topic Names are remembered.
 */
export class TopicMemory {
  /** The properties that came with them, of MQTT 5. */
  readonly properties = new PropertyMemory()
  readonly #topics: (RepeatedBytes | null)[] = new Array(SLOTS).fill(null)
  readonly #matches: (Match | null)[] = new Array(SLOTS).fill(null)
  /**
   * How packets of QoS 0 with this topic begin, from Topic Name to payload, when they need nothing but to be copied to those who
   * get them; null: not known.
   */
  readonly #openings: (RepeatedBytes | null)[] = new Array(SLOTS).fill(null)
  readonly #uses = new Uint8Array(SLOTS)
  /** The place that came after this one last time. */
  readonly #after = new Uint8Array(SLOTS)
  /** The place used last: packets of one topic come in rows. */
  #last = 0

  /** The match remembered for the topic in `buf[start..end)`, or null. It may be out of date. */
  find(buf: Buffer, start: number, end: number): Match | null {
    const last = this.#last
    if (this.#is(last, buf, start, end)) return this.#matches[last]!
    let slot = this.#after[last]!
    if (!this.#is(slot, buf, start, end)) {
      slot = this.#search(buf, start, end)
      if (slot === -1) return null
      this.#after[last] = slot
    }
    this.#last = slot
    return this.#matches[slot]!
  }

  /** `find` for a whole opening: the topic's length, the topic and, with MQTT 5, the properties. */
  findOpening(buf: Buffer, at: number, end: number): Match | null {
    const opening = this.#openings[this.#last]!
    if (opening?.is(buf, at, end)) return this.#matches[this.#last]!
    const slot = this.#after[this.#last]!
    const other = this.#openings[slot]!
    if (other === null || !other.is(buf, at, end)) return null
    this.#last = slot
    return this.#matches[slot]!
  }

  /** Remembers, now and then, the opening of the packet whose topic was found last. */
  learnOpening(buf: Buffer, at: number, end: number): void {
    const uses = ++this.#uses[this.#last]!
    if (uses % USES_BEFORE_OPENING === 0) this.#openings[this.#last] = new RepeatedBytes(buf, at, end)
  }

  put(buf: Buffer, start: number, end: number, match: Match): void {
    let slot = this.#search(buf, start, end)
    if (slot === -1) {
      const home = slotOf(buf, start, end)
      slot = home
      for (let i = 1; i < PROBES && this.#topics[slot] !== null; i++) slot = (home + i) & (SLOTS - 1)
      if (this.#topics[slot] !== null) slot = home
      this.#topics[slot] = new RepeatedBytes(buf, start, end)
      this.#openings[slot] = null
    }
    this.#matches[slot] = match
    this.#after[this.#last] = slot
    this.#last = slot
  }

  #is(slot: number, buf: Buffer, start: number, end: number): boolean {
    const topic = this.#topics[slot]!
    return topic !== null && topic.length === end - start && topic.is(buf, start, end)
  }

  #search(buf: Buffer, start: number, end: number): number {
    const home = slotOf(buf, start, end)
    for (let i = 0; i < PROBES; i++) {
      const slot = (home + i) & (SLOTS - 1)
      if (this.#is(slot, buf, start, end)) return slot
    }
    return -1
  }
}

/** FNV-1a over the bytes (Fowler, Noll and Vo), folded. */
function slotOf(buf: Buffer, start: number, end: number): number {
  let hash = 0x811c9dc5
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ buf[i]!, 0x01000193)
  return (hash ^ (hash >>> 16)) & (SLOTS - 1)
}
