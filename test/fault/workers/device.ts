import { RawClient, type Target } from '../../support/raw-client.ts'
import type { SeededRandom } from '../../support/seeded-random.ts'

interface Unacknowledged {
  readonly packetId: number
  readonly payload: string
}

/** A device that publishes with QoS 1 and sends again, with DUP, what was not acknowledged before the connection broke. */
export class Device {
  /** Payloads for which PUBACK came. */
  readonly acknowledged = new Set<string>()
  retransmitted = 0
  producing = true
  readonly #name: string
  readonly #target: () => Target
  readonly #random: SeededRandom
  #open: Unacknowledged[] = []
  #sent = 0
  #running = true
  /** Called when the connection was cut; null: it is not to be. */
  #cut: (() => void) | null = null
  #client: RawClient | null = null
  #done: Promise<void> = Promise.resolve()

  constructor(name: string, target: () => Target, random: SeededRandom) {
    this.#name = name
    this.#target = target
    this.#random = random
  }

  get unacknowledged(): number {
    return this.#open.length
  }

  start(): void {
    this.#done = this.#live()
  }

  /** Breaks the connection without a word, right behind a PUBLISH whose acknowledgement is then not heard. Resolves when it is done. */
  cut(): Promise<void> {
    this.producing = true
    return new Promise((resolve) => {
      this.#cut = resolve
    })
  }

  async close(): Promise<void> {
    this.#running = false
    this.#client?.reset()
    await this.#done
  }

  async #live(): Promise<void> {
    while (this.#running) {
      try {
        await this.#connection()
      } catch {
        // The broker is down, or the connection broke: the next one goes on where this one ended.
      }
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }

  async #connection(): Promise<void> {
    const client = await RawClient.connected(this.#target(), { clientId: this.#name, clean: false })
    this.#client = client
    client.onPacket = (packet) => {
      if (packet.type !== 'puback') return false
      const at = this.#open.findIndex(({ packetId }) => packetId === packet.packetId)
      if (at >= 0) for (const { payload } of this.#open.splice(at, 1)) this.acknowledged.add(payload)
      return true
    }
    for (const message of this.#open) {
      this.retransmitted++
      this.#publish(client, message, true)
    }
    while (this.#running && !client.isClosed) {
      for (let n = this.#random.int(1, 20); n > 0 && this.producing && this.#open.length < 100; n--) {
        const message = { packetId: 1 + (this.#sent % 65_535), payload: `${this.#name}/${++this.#sent}` }
        this.#open.push(message)
        this.#publish(client, message, false)
      }
      if (this.#cut !== null && this.#open.length > 0) {
        client.reset()
        this.#cut()
        this.#cut = null
      }
      await Promise.race([client.closed, new Promise((resolve) => setTimeout(resolve, this.#random.int(2, 10)))])
    }
  }

  #publish(client: RawClient, { packetId, payload }: Unacknowledged, dup: boolean): void {
    client.startPublish({ topic: `w/${this.#name}`, qos: 1, payload, packetId, dup })
  }
}
