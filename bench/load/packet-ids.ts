/**
 * Packet Identifiers of one publisher: a ring of the free ones, so that an identifier rests as long as possible and is
 * never used again before its flow is complete [v3 MQTT-2.3.1-2, v5 MQTT-2.2.1-3].
 */

const PACKET_IDS = 65_535

export class PacketIds {
  readonly #free: Uint16Array
  readonly #used: Uint8Array
  #next = 0
  inFlight = 0

  /** @param count identifiers from 1 to this number are used */
  constructor(count = PACKET_IDS) {
    this.#free = Uint16Array.from({ length: count }, (_, i) => i + 1)
    this.#used = new Uint8Array(PACKET_IDS + 1)
  }

  /** The next free identifier. The caller keeps `inFlight` below their number. */
  take(): number {
    const packetId = this.#free[this.#next]!
    this.#next = this.#next + 1 === this.#free.length ? 0 : this.#next + 1
    this.#used[packetId] = 1
    this.inFlight++
    return packetId
  }

  /** Gives an identifier back. False: it was not in flight, so the broker acknowledged what we did not send. */
  release(packetId: number): boolean {
    if (this.#used[packetId] !== 1) return false
    this.#used[packetId] = 0
    const tail = this.#next - this.inFlight
    this.#free[tail < 0 ? tail + this.#free.length : tail] = packetId
    this.inFlight--
    return true
  }
}
