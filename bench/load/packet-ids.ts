/**
 * Packet Identifiers of one publisher: a ring of the free ones, so that an identifier rests as long as possible and is
 * never used again before its flow is complete [v3 MQTT-2.3.1-2, v5 MQTT-2.2.1-3].
 */

const IDS = 65_535

export class PacketIds {
  readonly #free = new Uint16Array(IDS)
  readonly #used = new Uint8Array(IDS + 1)
  #next = 0
  inFlight = 0

  constructor() {
    for (let i = 0; i < IDS; i++) this.#free[i] = i + 1
  }

  /** The next free identifier. The caller keeps `inFlight` below 65,535. */
  take(): number {
    const packetId = this.#free[this.#next]!
    this.#next = this.#next + 1 === IDS ? 0 : this.#next + 1
    this.#used[packetId] = 1
    this.inFlight++
    return packetId
  }

  /** Gives an identifier back. False: it was not in flight, so the broker acknowledged what we did not send. */
  release(packetId: number): boolean {
    if (this.#used[packetId] !== 1) return false
    this.#used[packetId] = 0
    const tail = this.#next - this.inFlight
    this.#free[tail < 0 ? tail + IDS : tail] = packetId
    this.inFlight--
    return true
  }
}
