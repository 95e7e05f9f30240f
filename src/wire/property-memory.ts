import type { PublishFrame } from './publish.ts'
import { RepeatedBytes } from './words.ts'

/** Longer properties are read anew each time; one byte of Property Length. */
const REMEMBERED_BYTES_MAX = 127
/** Different properties remembered of one connection. */
const KNOWN_MAX = 4
/** Once all places are taken only one new kind in so many gets one: properties that change with every packet must not cost more. */
const LEARN_ONE_IN = 16

/** The properties of a PUBLISH, Property Length included, and what they say. They were checked. */
export class KnownProperties {
  readonly bytes: RepeatedBytes
  readonly expirySeconds: number
  readonly expiryOffset: number
  readonly payloadFormat: number

  constructor(frame: PublishFrame) {
    this.bytes = new RepeatedBytes(frame.propsBuf, frame.propsStart - 1, frame.propsEnd)
    this.expirySeconds = frame.expirySeconds
    this.expiryOffset = frame.expiryOffset
    this.payloadFormat = frame.payloadFormat
  }
}

/**
 * The properties a connection sent last, checked: a device repeats the same ones for ever, and what was checked byte by byte
 * once need not be checked again. Properties with a Topic Alias are not remembered.
 */
export class PropertyMemory {
  readonly #known: KnownProperties[] = []
  /** The place recognised last. */
  #last = 0
  /** The place that is given away next. */
  #next = 0
  /** Properties that were new when all places were taken. */
  #misses = 0

  /** What is known about the properties that begin at `at`, with their length; null: nothing. */
  find(buf: Buffer, at: number, end: number): KnownProperties | null {
    const known = this.#known
    if (known.length === 0) return null
    const last = known[this.#last]!
    if (last.bytes.is(buf, at, end)) return last
    for (let i = 0; i < known.length; i++) {
      if (!known[i]!.bytes.is(buf, at, end)) continue
      this.#last = i
      return known[i]!
    }
    return null
  }

  /** Remembers what `frame` has read, of properties that lie where the packet does. */
  learn(frame: PublishFrame): void {
    const length = frame.propsEnd - frame.propsStart
    if (length > REMEMBERED_BYTES_MAX || frame.topicAlias > 0) return
    if (this.#known.length === KNOWN_MAX && ++this.#misses % LEARN_ONE_IN !== 0) return
    this.#known[this.#next] = new KnownProperties(frame)
    this.#last = this.#next
    this.#next = (this.#next + 1) % KNOWN_MAX
  }
}
