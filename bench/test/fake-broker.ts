/** A broker for the tests of the load generator: slow, watchful, and able to misbehave on request. */
import { once } from 'node:events'
import net, { type AddressInfo } from 'node:net'
import mqttPacket, { type IPublishPacket, type Packet } from 'mqtt-packet'

export interface Misbehaviour {
  /** Every n-th PUBLISH is acknowledged and then forgotten. */
  readonly loseEvery?: number
  /** Acknowledge an identifier that was never used. */
  readonly wrongAcknowledgement?: boolean
  /** Return code of CONNACK. */
  readonly connectCode?: number
  /** Milliseconds between the arrival of a PUBLISH and its acknowledgement and delivery. */
  readonly delayMs?: number
}

export class FakeBroker {
  port = 0
  /** The most PUBLISH packets one client ever had unacknowledged. */
  mostInFlight = 0
  readonly topics = new Set<string>()
  /** Every Topic Filter subscribed to, in order. */
  readonly filters: string[] = []
  readonly #how: Misbehaviour
  readonly #server: net.Server
  readonly #sockets = new Set<net.Socket>()
  readonly #subscribers: { socket: net.Socket; filter: string; qos: 0 | 1 | 2; nextId: number }[] = []
  #published = 0

  constructor(how: Misbehaviour = {}) {
    this.#how = how
    this.#server = net.createServer((socket) => this.#serve(socket))
  }

  async listen(): Promise<void> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    this.port = (this.#server.address() as AddressInfo).port
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy()
    this.#server.close()
  }

  #serve(socket: net.Socket): void {
    this.#sockets.add(socket)
    socket.on('error', () => {})
    const parser = mqttPacket.parser()
    const inFlight = new Set<number>()
    const send = (packet: Packet): void => void socket.write(mqttPacket.generate(packet))
    parser.on('packet', (packet) => {
      if (packet.cmd === 'connect') {
        send({ cmd: 'connack', returnCode: this.#how.connectCode ?? 0, sessionPresent: false })
      } else if (packet.cmd === 'subscribe') {
        for (const { topic: filter, qos } of packet.subscriptions) {
          this.filters.push(filter)
          this.#subscribers.push({ socket, filter, qos, nextId: 1 })
        }
        send({ cmd: 'suback', messageId: packet.messageId!, granted: packet.subscriptions.map(({ qos }) => qos) })
      } else if (packet.cmd === 'publish') {
        if (packet.qos > 0) inFlight.add(packet.messageId!)
        this.mostInFlight = Math.max(this.mostInFlight, inFlight.size)
        setTimeout(() => this.#take(packet, send, inFlight), this.#how.delayMs ?? 0)
      } else if (packet.cmd === 'pubrel') {
        inFlight.delete(packet.messageId!)
        send({ cmd: 'pubcomp', messageId: packet.messageId! })
      } else if (packet.cmd === 'pubrec') {
        send({ cmd: 'pubrel', qos: 1, messageId: packet.messageId! } as Packet)
      }
    })
    socket.on('data', (bytes) => parser.parse(bytes))
  }

  #take(packet: IPublishPacket, send: (packet: Packet) => void, inFlight: Set<number>): void {
    this.topics.add(packet.topic)
    const messageId = this.#how.wrongAcknowledgement ? 60_000 : packet.messageId!
    if (packet.qos === 1) {
      inFlight.delete(packet.messageId!)
      send({ cmd: 'puback', messageId })
    } else if (packet.qos === 2) {
      send({ cmd: 'pubrec', messageId })
    }
    if (++this.#published % (this.#how.loseEvery ?? Number.POSITIVE_INFINITY) === 0) return
    // One group is enough for the tests: its members take turns.
    const shared = this.#subscribers.filter(({ filter }) => filter.startsWith('$share/'))
    const member = shared[this.#published % shared.length]
    for (const subscriber of this.#subscribers) {
      if (shared.includes(subscriber) && subscriber !== member) continue
      if (!matches(subscriber.filter, packet.topic)) continue
      const qos = Math.min(subscriber.qos, packet.qos) as 0 | 1 | 2
      const messageId = qos > 0 ? subscriber.nextId++ : undefined
      if (subscriber.nextId > 65_535) subscriber.nextId = 1
      const { topic, payload } = packet
      const copy = { cmd: 'publish', topic, payload, qos, dup: false, retain: false, messageId } as IPublishPacket
      subscriber.socket.write(mqttPacket.generate(copy))
    }
  }
}

function matches(filter: string, topic: string): boolean {
  const pattern = filter
    .replace(/^\$share\/[^/]+\//, '')
    .replaceAll('+', '[^/]+')
    .replace(/#$/, '.*')
  return new RegExp(`^${pattern}$`).test(topic)
}
