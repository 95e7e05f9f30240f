/**
 * A raw MQTT client for tests: it says exactly the bytes it is told to, shows exactly the packets that came, and
 * misbehaves on request (stops reading, sends half a packet, resets the connection).
 *
 * Received packets wait in an inbox until an `expect…` takes them; nothing is acknowledged unless `autoAck` is set.
 */
import net from 'node:net'
import WebSocket from 'ws'
import {
  type AckPacket,
  type BrokerPacket,
  type BrokerPacketType,
  type ConnackPacket,
  describePacket,
  encodeRawAck,
  encodeRawConnect,
  encodeRawDisconnect,
  encodeRawPublish,
  encodeRawSubscribe,
  encodeRawUnsubscribe,
  type PacketOf,
  type PublishPacket,
  pingreq,
  type RawConnect,
  RawPacketReader,
  type RawPublish,
  type RawSubscription,
  type SubackPacket,
  type Version,
} from './raw-packets.ts'

/** A TCP address, or the URL of a WebSocket. */
export type Target = { host: string; port: number } | string

/** Patience with a busy machine; what may take how long is asserted where it matters. */
const defaultTimeoutMs = 15_000

/** What the client needs of a TCP socket or WebSocket. */
interface Line {
  write(bytes: Buffer): boolean
  unsentBytes(): number
  pause(): void
  resume(): void
  end(): void
  reset(): void
  onDrain(fn: () => void): void
}

interface Waiter {
  wants: (packet: BrokerPacket) => boolean
  resolve: (packet: BrokerPacket) => void
  reject: (error: Error) => void
}

export class RawClient {
  /** Sees every packet first; returning true keeps it out of the inbox (and from being acknowledged by `autoAck`). */
  onPacket: ((packet: BrokerPacket) => boolean) | null = null
  /** Resolves when the connection is gone, whoever closed it. */
  readonly closed: Promise<void>
  isClosed = false
  version: Version = 4
  bytesReceived = 0

  private readonly line: Line
  private readonly reader = new RawPacketReader()
  private inbox: BrokerPacket[] = []
  private readonly log: string[] = []
  private waiters: Waiter[] = []
  private nextPacketId = 1
  private acks = false
  private wrong: Error | null = null
  private setClosed: () => void = () => {}

  private constructor(makeLine: (client: RawClient) => Line) {
    this.closed = new Promise((resolve) => {
      this.setClosed = resolve
    })
    this.line = makeLine(this)
  }

  /** Opens the network connection and says nothing. */
  static open(target: Target): Promise<RawClient> {
    return typeof target === 'string' ? RawClient.openWebSocket(target) : RawClient.openTcp(target)
  }

  /** Opens, sends CONNECT and insists on being accepted. */
  static async connected(target: Target, options: RawConnect = {}): Promise<RawClient> {
    const client = await RawClient.open(target)
    const connack = await client.connect(options)
    if (connack.code !== 0) throw new Error(`CONNECT was refused: ${describePacket(connack)}`)
    return client
  }

  private static openTcp(target: { host: string; port: number }): Promise<RawClient> {
    return new Promise((resolve, reject) => {
      const socket = net.connect({ ...target, noDelay: true })
      const client = new RawClient(() => ({
        write: (bytes) => socket.write(bytes),
        unsentBytes: () => socket.writableLength,
        pause: () => void socket.pause(),
        resume: () => void socket.resume(),
        end: () => void socket.end(),
        reset: () => void socket.resetAndDestroy(),
        onDrain: (fn) => void socket.once('drain', fn),
      }))
      socket.on('connect', () => resolve(client))
      socket.on('data', (bytes) => client.take(bytes))
      socket.on('error', reject)
      socket.on('close', () => client.gone())
    })
  }

  private static openWebSocket(url: string): Promise<RawClient> {
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(url, 'mqtt', { perMessageDeflate: false })
      const client = new RawClient(() => ({
        write: (bytes) => {
          socket.send(bytes)
          return true
        },
        unsentBytes: () => socket.bufferedAmount,
        pause: () => socket.pause(),
        resume: () => socket.resume(),
        end: () => socket.close(),
        reset: () => socket.terminate(),
        onDrain: (fn) => void setImmediate(fn),
      }))
      socket.on('open', () => resolve(client))
      socket.on('message', (bytes: Buffer, binary: boolean) => {
        if (binary) client.take(bytes)
        else client.fail(new Error('the broker sent a text frame [v5 MQTT-6.0.0-1]'))
      })
      socket.on('error', reject)
      socket.on('close', () => client.gone())
    })
  }

  /** Answers PUBLISH and PUBREL at once, as a correct client does; what is in the inbox already is answered too. */
  set autoAck(on: boolean) {
    if (on && !this.acks) for (const packet of this.inbox) this.acknowledge(packet)
    this.acks = on
  }

  // ---- speaking

  /** Writes bytes as they are; false when the socket asks to wait for `drained`. */
  send(...bytes: Buffer[]): boolean {
    return this.line.write(bytes.length === 1 ? bytes[0]! : Buffer.concat(bytes))
  }
  /** Bytes written that the operating system has not taken, because the broker does not read. */
  get unsentBytes(): number {
    return this.line.unsentBytes()
  }
  drained(): Promise<void> {
    return Promise.race([new Promise<void>((resolve) => this.line.onDrain(resolve)), this.closed])
  }
  /** Writes the bytes in pieces of these sizes (the last size repeats), each in its own segment as far as TCP lets us. */
  async sendPieces(bytes: Buffer, ...sizes: number[]): Promise<void> {
    let at = 0
    for (let i = 0; at < bytes.length; i++) {
      const size = sizes[Math.min(i, sizes.length - 1)] ?? 1
      this.send(bytes.subarray(at, at + size))
      at += size
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
  /** Sends CONNECT and waits for the CONNACK, whatever it says. */
  connect(options: RawConnect = {}): Promise<ConnackPacket> {
    this.version = options.version ?? 4
    this.reader.version = this.version
    this.send(encodeRawConnect(options))
    return this.expect('connack')
  }
  /** A Packet Identifier that this client does not have in flight (as long as fewer than 65535 are). */
  packetId(): number {
    const id = this.nextPacketId
    this.nextPacketId = id === 65535 ? 1 : id + 1
    return id
  }
  subscribe(...entries: (string | [topicFilter: string, options: number])[]): Promise<SubackPacket> {
    const subscriptions = entries.map(
      (entry): RawSubscription =>
        typeof entry === 'string' ? { topicFilter: entry } : { topicFilter: entry[0], options: entry[1] },
    )
    const packetId = this.packetId()
    this.send(encodeRawSubscribe(packetId, subscriptions, this.version))
    return this.expect('suback', (packet) => packet.packetId === packetId)
  }
  unsubscribe(...filters: string[]): Promise<SubackPacket> {
    const packetId = this.packetId()
    this.send(encodeRawUnsubscribe(packetId, filters, this.version))
    return this.expect('unsuback', (packet) => packet.packetId === packetId)
  }
  /** Sends a PUBLISH and does not wait; the Packet Identifier is chosen here unless given. Returns it. */
  startPublish(options: RawPublish): number {
    const packetId = options.packetId ?? ((options.qos ?? 0) > 0 ? this.packetId() : 0)
    this.send(encodeRawPublish({ ...options, packetId }, this.version))
    return packetId
  }
  /** Sends a PUBLISH and completes its QoS flow. */
  async publish(options: RawPublish): Promise<void> {
    const packetId = this.startPublish(options)
    const mine = (packet: AckPacket) => packet.packetId === packetId
    if (options.qos === 1) await this.expect('puback', mine)
    if (options.qos === 2) {
      await this.expect('pubrec', mine)
      this.ack('pubrel', packetId)
      await this.expect('pubcomp', mine)
    }
  }
  ack(type: AckPacket['type'], packetId: number): void {
    this.send(encodeRawAck(type, packetId))
  }
  /** A PINGREQ round trip: everything sent before has been read by the broker. */
  async ping(): Promise<void> {
    this.send(pingreq)
    await this.expect('pingresp')
  }
  /** Sends DISCONNECT and waits until the connection is gone. */
  async disconnect(): Promise<void> {
    this.send(encodeRawDisconnect(this.version))
    this.line.end()
    await this.closed
  }
  /** Closes the network connection without DISCONNECT and waits until it is gone. */
  async drop(): Promise<void> {
    this.line.resume()
    this.line.end()
    await this.closed
  }
  /** Resets the connection (RST), as a crash or a pulled cable with a dead peer would. */
  reset(): void {
    this.line.reset()
  }
  /** Stops reading: the receive window fills and the broker's writes back up. */
  freeze(): void {
    this.line.pause()
  }
  thaw(): void {
    this.line.resume()
  }

  // ---- listening

  /** Takes the first packet of this type (that satisfies `where`) out of the inbox, waiting for it if need be. */
  expect<T extends BrokerPacketType>(
    type: T,
    where: (packet: PacketOf<T>) => boolean = () => true,
    timeoutMs = defaultTimeoutMs,
  ): Promise<PacketOf<T>> {
    const wants = (packet: BrokerPacket) => packet.type === type && where(packet as PacketOf<T>)
    return this.wait(wants, type, timeoutMs) as Promise<PacketOf<T>>
  }
  /** Takes the very next packet; it must be of this type. */
  async expectNext<T extends BrokerPacketType>(type: T): Promise<PacketOf<T>> {
    const packet = await this.wait(() => true, `next: ${type}`, defaultTimeoutMs)
    if (packet.type !== type) throw new Error(`expected ${type} next, got ${describePacket(packet)}`)
    return packet as PacketOf<T>
  }
  /** Takes this many PUBLISH packets (QoS handshakes are left to `autoAck` or the test). */
  async expectPublishes(count: number, timeoutMs = defaultTimeoutMs): Promise<PublishPacket[]> {
    const found: PublishPacket[] = []
    while (found.length < count) found.push(await this.expect('publish', () => true, timeoutMs))
    return found
  }
  /** Takes one PUBLISH and completes its QoS flow. */
  async receive(): Promise<PublishPacket> {
    const packet = await this.expect('publish')
    if (packet.qos === 1) this.ack('puback', packet.packetId)
    if (packet.qos === 2) {
      this.ack('pubrec', packet.packetId)
      await this.expect('pubrel', (pubrel) => pubrel.packetId === packet.packetId)
      this.ack('pubcomp', packet.packetId)
    }
    return packet
  }
  /** The payloads of the PUBLISH packets in the inbox and of those that come within `ms`. */
  async payloadsWithin(ms: number): Promise<string[]> {
    await new Promise((resolve) => setTimeout(resolve, ms))
    return this.takeAll('publish').map((packet) => packet.payload.toString())
  }
  /** Fails if a packet of this type (default: any) is in the inbox or comes within `ms`. */
  async expectNothing(ms = 100, type?: BrokerPacketType): Promise<void> {
    const timer = new Promise<void>((resolve) => setTimeout(resolve, ms))
    await Promise.race([timer, this.closed])
    const found = this.inbox.find((packet) => type === undefined || packet.type === type)
    if (found) throw new Error(`expected ${type ?? 'nothing'} not to come, got ${describePacket(found)}`)
  }
  /** Waits until the broker closes the connection. */
  async expectClosed(timeoutMs = defaultTimeoutMs): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      const report = () => reject(new Error(`the connection is still open after ${timeoutMs} ms; ${this.history()}`))
      timer = setTimeout(report, timeoutMs)
    })
    await Promise.race([this.closed, late]).finally(() => clearTimeout(timer))
  }
  /** Takes every packet of this type out of the inbox. */
  takeAll<T extends BrokerPacketType>(type: T): PacketOf<T>[] {
    const found = this.inbox.filter((packet) => packet.type === type)
    this.inbox = this.inbox.filter((packet) => packet.type !== type)
    return found as PacketOf<T>[]
  }

  private wait(wants: Waiter['wants'], what: string, timeoutMs: number): Promise<BrokerPacket> {
    if (this.wrong) return Promise.reject(this.wrong)
    const at = this.inbox.findIndex(wants)
    if (at >= 0) return Promise.resolve(this.inbox.splice(at, 1)[0]!)
    if (this.isClosed) return Promise.reject(new Error(`the connection closed before ${what} came; ${this.history()}`))
    // The stack of the caller, not of the timer, tells which expectation failed.
    const error = new Error()
    return new Promise((resolve, reject) => {
      const finish = (message: string) => {
        this.waiters = this.waiters.filter((entry) => entry !== waiter)
        error.message = `${message}; ${this.history()}`
        reject(error)
      }
      const timer = setTimeout(() => finish(`expected ${what} within ${timeoutMs} ms`), timeoutMs)
      const waiter: Waiter = {
        wants,
        resolve: (packet) => {
          clearTimeout(timer)
          resolve(packet)
        },
        reject: (reason) => {
          clearTimeout(timer)
          finish(`expected ${what}, but ${reason.message}`)
        },
      }
      this.waiters.push(waiter)
    })
  }

  private history(): string {
    const seen = this.log.length > 0 ? this.log.join(', ') : 'nothing'
    return `received: ${seen}${this.isClosed ? ', then the connection closed' : ''}`
  }

  private take(bytes: Buffer): void {
    if (this.wrong) return
    this.bytesReceived += bytes.length
    try {
      this.reader.push(bytes, (packet) => this.arrived(packet))
    } catch (error) {
      this.fail(error as Error)
    }
  }

  private arrived(packet: BrokerPacket): void {
    if (this.onPacket?.(packet)) return
    this.log.push(describePacket(packet))
    if (this.log.length > 30) this.log.shift()
    if (this.acks) this.acknowledge(packet)
    const waiter = this.waiters.find((entry) => entry.wants(packet))
    if (!waiter) return void this.inbox.push(packet)
    this.waiters = this.waiters.filter((entry) => entry !== waiter)
    waiter.resolve(packet)
  }

  private acknowledge(packet: BrokerPacket): void {
    if (packet.type === 'publish' && packet.qos > 0) {
      this.ack(packet.qos === 1 ? 'puback' : 'pubrec', packet.packetId)
    }
    if (packet.type === 'pubrel') this.ack('pubcomp', packet.packetId)
  }

  private fail(error: Error): void {
    this.wrong = error
    for (const waiter of [...this.waiters]) waiter.reject(error)
    this.line.reset()
  }

  private gone(): void {
    this.isClosed = true
    for (const waiter of [...this.waiters]) waiter.reject(new Error('the connection closed'))
    this.setClosed()
  }
}
