/**
 * A subscriber with a persistent session that keeps its half of QoS 2 over reconnects: a Packet Identifier received
 * and not yet released is the same message, however often it comes [v3 MQTT-4.3.3-2].
 */
import { RawClient, type Target } from '../support/raw-client.ts'
import {
  type AckPacket,
  type BrokerPacket,
  encodeRawAck,
  type PublishPacket,
  type Version,
} from '../support/raw-packets.ts'
import type { SeededRandom } from '../support/seeded-random.ts'
import type { Ledger, Receiver } from './ledger.ts'

export interface SubscriberOptions {
  clientId: string
  version: Version
  filters: string[]
  receiver: Receiver
  target: () => Target
  ledger: Ledger
  random: SeededRandom
  /** Acknowledgements are held back for up to this long, so that a kill finds them missing. */
  ackDelayMs: number
}

export class FaultSubscriber {
  connections = 0
  private readonly options: SubscriberOptions
  private readonly unreleased = new Set<number>()
  /** Last message seen under each Packet Identifier, to tell a redelivery from a new message. */
  private readonly lastUnder = new Map<number, string>()
  private client: RawClient | null = null
  private subscribed = false
  private wanted = true
  private running = true
  private done: Promise<void> = Promise.resolve()
  private wake: () => void = () => {}

  constructor(options: SubscriberOptions) {
    this.options = options
  }

  start(): void {
    this.done = this.live()
  }
  /** The subscription is known to the broker. */
  get ready(): boolean {
    return this.subscribed
  }
  /** QoS 2 messages received whose PUBREL has not come. */
  get halfDone(): number {
    return this.unreleased.size
  }
  goOnline(): void {
    this.wanted = true
    this.wake()
  }
  /** Disconnects, politely or by a reset, and stays away until `goOnline`. */
  goOffline(): void {
    this.wanted = false
    if (this.options.random.chance(0.5)) void this.client?.disconnect()
    else this.client?.reset()
  }
  breakConnection(): void {
    this.client?.reset()
  }
  /** Connects again while the old connection still stands, and ignores what comes on that. */
  abandonConnection(): void {
    const old = this.client
    if (!old) return
    old.onPacket = () => true
    setTimeout(() => old.reset(), 500)
    this.abandoned()
  }
  private abandoned: () => void = () => {}
  async close(): Promise<void> {
    this.running = false
    this.wake()
    this.client?.reset()
    await this.done
  }

  private async live(): Promise<void> {
    while (this.running) {
      if (!this.wanted) {
        await new Promise<void>((resolve) => {
          this.wake = resolve
        })
        continue
      }
      let client: RawClient | null = null
      try {
        client = await RawClient.open(this.options.target())
        await this.serve(client)
      } catch {
        // The broker is down or died under us.
        client?.reset()
      }
      this.client = null
      await new Promise((resolve) => setTimeout(resolve, this.options.random.int(10, 60)))
    }
  }

  private async serve(client: RawClient): Promise<void> {
    const { clientId, version, filters, ledger } = this.options
    const take = this.receiverOf(client)
    client.onPacket = take
    const properties = version === 5 ? { properties: { sessionExpiryInterval: 3600 } } : {}
    const connack = await client.connect({ clientId, clean: false, version, ...properties })
    if (connack.code !== 0) throw new Error(`refused: ${connack.code}`)
    // MQTT 3.1 has no Session Present flag.
    if (this.subscribed && !connack.sessionPresent && version > 3)
      ledger.violation(`the session of ${clientId} was lost`)
    if (!this.running || !this.wanted) return client.reset()
    this.client = client
    this.connections++
    if (!this.subscribed) {
      const suback = await client.subscribe(...filters.map((filter): [string, number] => [filter, 2]))
      if (suback.codes.some((code) => code !== 2)) throw new Error(`SUBACK ${suback.codes}`)
      this.subscribed = true
    }
    const left = new Promise<void>((resolve) => {
      this.abandoned = resolve
    })
    await Promise.race([client.closed, left])
  }

  private receiverOf(client: RawClient): (packet: BrokerPacket) => boolean {
    const { random, ackDelayMs } = this.options
    let held: Buffer[] = []
    const flush = () => {
      if (!client.isClosed) client.send(...held)
      held = []
    }
    const answer = (type: AckPacket['type'], packetId: number) => {
      if (held.push(encodeRawAck(type, packetId)) === 1) setTimeout(flush, random.int(0, ackDelayMs))
    }
    return (packet) => {
      if (packet.type === 'publish') {
        this.received(packet)
        if (packet.qos > 0) answer(packet.qos === 1 ? 'puback' : 'pubrec', packet.packetId)
        return true
      }
      if (packet.type !== 'pubrel') return false
      this.unreleased.delete(packet.packetId)
      this.lastUnder.delete(packet.packetId)
      answer('pubcomp', packet.packetId)
      return true
    }
  }

  private received(packet: PublishPacket): void {
    const { ledger, receiver, clientId } = this.options
    const seq = Number.parseInt(packet.payload.toString(), 10)
    const name = `${packet.topic} ${seq}`
    if (packet.retain)
      ledger.violation(`${clientId} got ${name} with RETAIN set on a live subscription [v3 MQTT-3.3.1-9]`)
    const again = this.lastUnder.get(packet.packetId) === name
    if (again && !packet.dup) ledger.violation(`${clientId} got ${name} again without DUP [v3 MQTT-3.3.1-1]`)
    if (packet.qos > 0) this.lastUnder.set(packet.packetId, name)
    if (packet.qos === 2) {
      if (this.unreleased.has(packet.packetId)) {
        if (!again) ledger.violation(`${clientId} got ${name} under packet ${packet.packetId}, which is not released`)
        return
      }
      this.unreleased.add(packet.packetId)
    }
    ledger.arrived(receiver, packet.topic, seq)
  }
}
