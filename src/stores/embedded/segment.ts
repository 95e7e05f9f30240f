/**
 * Bodies of messages that went to several lanes. A segment holds the bodies that one array of targets received within one
 * group; every chunk that refers to it counts once, and the segment goes with the last of them.
 */
import type { Engine } from './engine.ts'
import { decodeSegment, segmentRefs } from './formats.ts'
import { idKey, readUint48, table, writeUint48 } from './keys.ts'

export class Segment {
  readonly id: number
  /** Chunks on disk, or on their way there, that refer to it. */
  refs: number
  /** Null while only the count was needed. */
  bodies: Buffer[] | null
  bytes = 0
  /** Resident chunks that refer to it. */
  holders = 0
  /** Groups, open or under way, that write it or its count. */
  pins = 0

  constructor(id: number, refs: number, bodies: Buffer[] | null) {
    this.id = id
    this.refs = refs
    this.bodies = bodies
  }
}

/** The segments that resident chunks and unfinished groups refer to. */
export class Segments {
  readonly #engine: Engine
  readonly #resident = new Map<number, Segment>()

  constructor(engine: Engine) {
    this.#engine = engine
  }

  add(segment: Segment): void {
    this.#resident.set(segment.id, segment)
  }

  /** The segment with its bodies; undefined when the disk does not have it. */
  load(id: number): Segment | undefined {
    const segment = this.#resident.get(id)
    if (segment?.bodies) return segment
    const value = this.#engine.get(idKey(table.segment, id))
    if (value === undefined) return undefined
    const bodies = decodeSegment(value)
    if (segment !== undefined) {
      segment.bodies = bodies
      segment.bytes = value.length
      return segment
    }
    const loaded = new Segment(id, this.#storedRefs(id) ?? segmentRefs(value), bodies)
    loaded.bytes = value.length
    this.#resident.set(id, loaded)
    return loaded
  }

  /** The segment with at least its count; undefined when the disk does not have it. */
  counted(id: number): Segment | undefined {
    const resident = this.#resident.get(id)
    if (resident !== undefined) return resident
    let refs = this.#storedRefs(id)
    if (refs === undefined) {
      const value = this.#engine.get(idKey(table.segment, id))
      if (value === undefined) return undefined
      refs = segmentRefs(value)
    }
    const segment = new Segment(id, refs, null)
    this.#resident.set(id, segment)
    return segment
  }

  /** Forgets the segment when nothing in memory needs it any more. */
  letGo(segment: Segment): void {
    if (segment.holders <= 0 && segment.pins <= 0) this.#resident.delete(segment.id)
  }

  get size(): number {
    return this.#resident.size
  }

  #storedRefs(id: number): number | undefined {
    const value = this.#engine.get(idKey(table.refs, id))
    return value === undefined ? undefined : readUint48(value, 0)
  }
}

export function encodeRefs(refs: number): Buffer {
  const value = Buffer.allocUnsafe(6)
  writeUint48(value, 0, refs)
  return value
}
