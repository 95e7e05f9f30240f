import type { PublishFrame } from '../wire/publish.ts'

/** Shorter topics cost less than the three bytes of the property. */
const TOPIC_BYTES_MIN = 8

/**
 * Topic Aliases towards one client ([v5 3.3.2.3.4]): the first topics sent on the connection get one each, up to the
 * client's Topic Alias Maximum [v5 MQTT-3.1.2-26, -27]. They are not reassigned.
 */
export class OutboundAliases {
  readonly #maximum: number
  readonly #byTopic = new Map<string, number>()

  constructor(maximum: number) {
    this.#maximum = maximum
  }

  /**
   * Puts the alias into `frame`'s topic for a packet that is sent right now. Returns the property bytes to send, or null
   * when the topic goes as it is. When the alias was made known before, `known` is true and the topic may be left out.
   * @param mayGrow whether the packet has room for both topic and alias
   */
  take(frame: PublishFrame, mayGrow: boolean): { prefix: Buffer; known: boolean } | null {
    if (frame.topicEnd - frame.topicStart < TOPIC_BYTES_MIN) return null
    const topic = frame.topicBuf.toString('latin1', frame.topicStart, frame.topicEnd)
    const alias = this.#byTopic.get(topic)
    if (alias !== undefined) return { prefix: property(alias), known: true }
    if (!mayGrow || this.#byTopic.size >= this.#maximum) return null
    this.#byTopic.set(topic, this.#byTopic.size + 1)
    return { prefix: property(this.#byTopic.size), known: false }
  }
}

function property(alias: number): Buffer {
  return Buffer.from([0x23, alias >> 8, alias & 255])
}
