/**
 * A publisher with a persistent session that behaves exactly as the specification wants: after every reconnect it
 * retransmits what is not acknowledged, in the original order, with DUP and the same Packet Identifiers
 * [v3 MQTT-4.4.0-1] [v3 MQTT-4.6.0-1].
 */
import { RawClient, type Target } from '../support/raw-client.ts'
import { type BrokerPacket, encodeRawAck, encodeRawPublish, type Version } from '../support/raw-packets.ts'
import type { SeededRandom } from '../support/seeded-random.ts'
import type { Ledger, SentMessage } from './ledger.ts'

interface Flow {
  message: SentMessage
  publish: { topic: string; payload: string; qos: 1 | 2; retain: boolean; packetId: number }
  /** `publish`: waiting for PUBACK or PUBREC; `pubrel`: PUBREC came, waiting for PUBCOMP. */
  state: 'publish' | 'pubrel'
}

export interface PublisherOptions {
  clientId: string
  qos: 1 | 2
  version: Version
  topics: { topic: string; retain: boolean }[]
  target: () => Target
  ledger: Ledger
  random: SeededRandom
  /** Messages in flight at most. */
  window: number
  /** Pause between bursts, ms; a burst is up to eight messages. */
  paceMs: number
}

export class FaultPublisher {
  readonly lastSent = new Map<string, number>()
  readonly lastAcknowledged = new Map<string, number>()
  acknowledgements = 0
  reconnects = 0
  private readonly options: PublisherOptions
  private readonly flows = new Map<number, Flow>()
  private client: RawClient | null = null
  private hadSession = false
  private packetId = 0
  private producing = true
  private running = true
  private done: Promise<void> = Promise.resolve()

  constructor(options: PublisherOptions) {
    this.options = options
  }

  start(): void {
    this.done = this.live()
  }
  /** No new messages; what is in flight goes on. */
  stopProducing(): void {
    this.producing = false
  }
  get unacknowledged(): number {
    return this.flows.size
  }
  async close(): Promise<void> {
    this.running = false
    this.client?.reset()
    await this.done
  }
  /** Resets the connection under the broker's hands. */
  breakConnection(): void {
    this.client?.reset()
  }
  /** Connects again while the old connection still stands: the broker has to take over. */
  abandonConnection(): void {
    const old = this.client
    if (!old) return
    old.onPacket = () => true
    this.client = null
    setTimeout(() => old.reset(), 500)
    this.abandoned()
  }
  private abandoned: () => void = () => {}

  private async live(): Promise<void> {
    while (this.running) {
      let client: RawClient | null = null
      try {
        client = await RawClient.open(this.options.target())
        await this.serve(client)
        this.reconnects++
      } catch {
        // The broker is down or died under us: that is what this test is about.
        client?.reset()
      }
      await new Promise((resolve) => setTimeout(resolve, this.options.random.int(10, 60)))
    }
  }

  private async serve(client: RawClient): Promise<void> {
    const { clientId, version, ledger, random, paceMs } = this.options
    client.onPacket = (packet) => this.take(client, packet)
    const connack = await client.connect({ clientId, clean: false, version, ...this.sessionProperties() })
    if (connack.code !== 0) throw new Error(`refused: ${connack.code}`)
    // MQTT 3.1 has no Session Present flag.
    if (this.hadSession && !connack.sessionPresent && version > 3) {
      ledger.violation(`${clientId} has unacknowledged messages and was told there is no session [v3 MQTT-3.2.2-2]`)
    }
    this.hadSession = true
    if (!this.running) return client.reset()
    this.client = client
    this.retransmit(client)
    const left = new Promise<void>((resolve) => {
      this.abandoned = resolve
    })
    const over = Promise.race([client.closed, left])
    let open = true
    void over.then(() => {
      open = false
    })
    while (open) {
      if (this.producing) this.burst(client, random.int(1, 8))
      await Promise.race([over, new Promise((resolve) => setTimeout(resolve, random.int(1, paceMs * 2)))])
    }
    if (this.client === client) this.client = null
  }

  private sessionProperties(): { properties?: { sessionExpiryInterval: number } } {
    return this.options.version === 5 ? { properties: { sessionExpiryInterval: 3600 } } : {}
  }

  private retransmit(client: RawClient): void {
    const { ledger, version } = this.options
    const frames: Buffer[] = []
    for (const { message, publish, state } of this.flows.values()) {
      ledger.note(message, `${state} again`)
      if (state === 'publish') message.transmissions++
      frames.push(
        state === 'publish'
          ? encodeRawPublish({ ...publish, dup: true }, version)
          : encodeRawAck('pubrel', publish.packetId),
      )
    }
    if (frames.length > 0) client.send(...frames)
  }

  private burst(client: RawClient, count: number): void {
    const { topics, ledger, random, window, qos, version } = this.options
    const frames: Buffer[] = []
    for (let i = 0; i < count && this.flows.size < window; i++) {
      const { topic, retain } = random.pick(topics)
      const seq = (this.lastSent.get(topic) ?? 0) + 1
      this.lastSent.set(topic, seq)
      const padding = random.chance(0.02) ? random.int(4_000, 40_000) : random.int(0, 200)
      const publish = { topic, payload: `${seq} ${'.'.repeat(padding)}`, qos, retain, packetId: this.freePacketId() }
      const message = ledger.sent(topic, seq, qos)
      ledger.note(
        message,
        `sent by ${this.options.clientId} as packet ${publish.packetId}, connection ${this.reconnects}`,
      )
      this.flows.set(publish.packetId, { message, publish, state: 'publish' })
      frames.push(encodeRawPublish(publish, version))
    }
    if (frames.length > 0) client.send(...frames)
  }

  private freePacketId(): number {
    do this.packetId = (this.packetId % 65535) + 1
    while (this.flows.has(this.packetId))
    return this.packetId
  }

  private take(client: RawClient, packet: BrokerPacket): boolean {
    if (packet.type !== 'puback' && packet.type !== 'pubrec' && packet.type !== 'pubcomp') return false
    const flow = this.flows.get(packet.packetId)
    const { ledger, clientId, qos } = this.options
    if (!flow) {
      ledger.violation(`${clientId} got ${packet.type} for packet ${packet.packetId}, which is not in flight`)
      return true
    }
    const wanted = qos === 1 ? 'puback' : flow.state === 'publish' ? 'pubrec' : 'pubcomp'
    // A PUBREC may be repeated while its PUBREL is under way; everything else is out of turn.
    if (packet.type !== wanted && !(qos === 2 && packet.type === 'pubrec')) {
      ledger.violation(`${clientId} got ${packet.type} and expected ${wanted}`, flow.message)
      return true
    }
    if (packet.code >= 0x80 && packet.type !== 'pubcomp') {
      // The exchange is over and the message is not the broker's [v5 MQTT-4.3.3-4]; this publisher gives it up.
      ledger.refused(flow.message, packet.code)
      this.flows.delete(packet.packetId)
      return true
    }
    if (packet.type !== 'pubcomp' && flow.state === 'publish') {
      this.acknowledgements++
      ledger.acknowledged(flow.message)
      this.lastAcknowledged.set(flow.message.topic, flow.message.seq)
    }
    if (packet.type === 'pubrec') {
      flow.state = 'pubrel'
      client.send(encodeRawAck('pubrel', packet.packetId))
    } else this.flows.delete(packet.packetId)
    return true
  }
}
