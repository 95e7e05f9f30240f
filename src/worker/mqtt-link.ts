import net from 'node:net'
import tls from 'node:tls'
import { systemClock } from '../base/clock.ts'
import { encodeConnect } from '../wire/client-packets.ts'
import { decodeConnack } from '../wire/connack.ts'
import { PacketType } from '../wire/control.ts'
import { FrameReader } from '../wire/frame-reader.ts'
import { BrokerError } from './errors.ts'

const CONNECT_MS_MAX = 10_000
const KEEP_ALIVE_SECONDS = 30
const PACKET_BYTES_MAX = 268_435_460

const PINGREQ = Buffer.from([0xc0, 0])
const DISCONNECT = Buffer.from([0xe0, 0])

export interface LinkHandler {
  packet(type: number, flags: number, buf: Buffer, start: number, end: number): void
  /** The connection is gone. */
  closed(error: BrokerError): void
}

/** One connection of MQTT 5 as a worker needs it. Writes of one turn leave together. */
export class MqttLink {
  readonly #socket: net.Socket
  readonly #reader = new FrameReader(PACKET_BYTES_MAX)
  readonly #handler: LinkHandler
  #accepted: ((error: BrokerError | null) => void) | null = null
  #open = true
  #corked = false
  #lastHeard = systemClock.monotonic()
  #cancelPing: (() => void) | null = null

  private constructor(socket: net.Socket, handler: LinkHandler) {
    this.#socket = socket
    this.#handler = handler
    socket.setNoDelay(true)
    socket.on('data', (bytes: Buffer) => this.#data(bytes))
    socket.on('error', (error: Error) => this.#end(error.message))
    socket.on('close', () => this.#end('the broker closed the connection'))
  }

  /**
   * Connects and waits to be accepted.
   * @param url `mqtt://` or `mqtts://`, with user and password if there are any
   * @param receiveMaximum messages the broker may send ahead
   */
  static async open(url: URL, clientId: string, receiveMaximum: number, handler: LinkHandler): Promise<MqttLink> {
    const secure = url.protocol === 'mqtts:'
    const port = Number(url.port) || (secure ? 8883 : 1883)
    const host = url.hostname.replace(/^\[|\]$/g, '')
    const socket = secure ? tls.connect({ host, port, servername: host }) : net.connect({ host, port })
    const link = new MqttLink(socket, handler)
    const cancel = systemClock.after(CONNECT_MS_MAX, () => link.#end(`no answer within ${CONNECT_MS_MAX} ms`))
    const accepted = new Promise<BrokerError | null>((resolve) => {
      link.#accepted = resolve
    })
    socket.write(
      encodeConnect({
        version: 5,
        clientId,
        keepAliveSeconds: KEEP_ALIVE_SECONDS,
        properties: { receiveMaximum },
        ...(url.username !== '' && { userName: decodeURIComponent(url.username) }),
        ...(url.password !== '' && { password: Buffer.from(decodeURIComponent(url.password)) }),
      }),
    )
    const error = await accepted
    cancel()
    if (error !== null) throw error
    link.#pingLater()
    return link
  }

  get open(): boolean {
    return this.#open
  }

  write(bytes: Buffer): void {
    if (!this.#open) return
    if (!this.#corked) {
      this.#corked = true
      this.#socket.cork()
      setImmediate(() => {
        this.#corked = false
        this.#socket.uncork()
      })
    }
    this.#socket.write(bytes)
  }

  /** Says goodbye; resolves when the connection is gone. */
  async close(): Promise<void> {
    if (this.#socket.destroyed) return
    const gone = new Promise((resolve) => this.#socket.once('close', resolve))
    this.#open = false
    this.#cancelPing?.()
    this.#socket.end(DISCONNECT)
    const cancel = systemClock.after(1000, () => this.#socket.destroy())
    await gone
    cancel()
  }

  #data(bytes: Buffer): void {
    this.#lastHeard = systemClock.monotonic()
    try {
      this.#reader.feed(bytes, 0, this)
    } catch (error) {
      this.#end((error as Error).message)
    }
  }

  frame(buf: Buffer, start: number, bodyStart: number, end: number): boolean {
    const type = buf[start]! >> 4
    if (this.#accepted !== null) {
      const { reasonCode, properties } = decodeConnack(buf, bodyStart, end, 5)
      const accepted = this.#accepted
      this.#accepted = null
      const why = properties?.reasonString ?? `CONNACK with reason code 0x${reasonCode.toString(16)}`
      accepted(reasonCode === 0 ? null : new BrokerError(reasonCode >= 0x88 ? 503 : 401, 'refused', why))
    } else if (type !== PacketType.PINGRESP) {
      this.#handler.packet(type, buf[start]! & 15, buf, bodyStart, end)
    }
    return this.#open
  }

  #pingLater(): void {
    this.#cancelPing = systemClock.after(KEEP_ALIVE_SECONDS * 500, () => {
      if (systemClock.monotonic() - this.#lastHeard > KEEP_ALIVE_SECONDS * 1500)
        return this.#end('the broker is silent')
      this.write(PINGREQ)
      this.#pingLater()
    })
  }

  #end(reason: string): void {
    if (!this.#open) return
    this.#open = false
    this.#cancelPing?.()
    this.#socket.destroy()
    const error = new BrokerError(0, 'unreachable', reason)
    if (this.#accepted !== null) this.#accepted(error)
    else this.#handler.closed(error)
  }
}
