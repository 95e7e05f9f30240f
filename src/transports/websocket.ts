/** MQTT over WebSocket, on the upgrade requests of an HTTP server [v5 MQTT-6.0.0-1 … -4]. */
import type { IncomingMessage, Server } from 'node:http'
import type { Duplex } from 'node:stream'
import { type WebSocket, WebSocketServer } from 'ws'
import { bindError, boundAddress } from '../base/bind.ts'
import { originAllowed } from '../base/origin.ts'
import { SluiceError } from '../errors.ts'
import type { Accept, ByteStream, Listener, Peer, StreamHandler } from '../transport.ts'
import { serveAsPlainRequest } from './plain-request.ts'

export interface WebSocketOptions {
  /** Path of the upgrade request. */
  readonly path: string
  /**
   * Largest MQTT packet accepted. A frame may hold this and 64 KiB of further packets; it is kept in memory until its
   * last byte is there, so this is also what one connection can make the broker hold before it has said who it is.
   */
  readonly packetBytesMax: number
  /** Origins of web pages that may connect; `*` for all. A page of this very host and no Origin at all always may. */
  readonly origins?: readonly string[]
}

/** Names in order of preference: MQTT 3.1.1 and 5, then 3.1. */
const subprotocols = ['mqtt', 'mqttv3.1']
const binary = { binary: true, compress: false, fin: true }
/** Time for what is queued, our close frame and the peer's answer to it, in ms. */
const closeTimeoutMs = 10_000

/**
 * Serves upgrade requests of `server` from `listen` until `close`; resolves once the server listens, which whoever owns
 * the server brings about. Other paths get 404, a page of a strange origin 403, a missing subprotocol 400
 * [v5 MQTT-6.0.0-3].
 */
export function websocketListener(server: Server, options: WebSocketOptions, accept: Accept): Listener {
  const settings = {
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    skipUTF8Validation: true,
    maxPayload: options.packetBytesMax + 64 * 1024,
    closeTimeout: closeTimeoutMs,
    handleProtocols: (offered: Set<string>) => subprotocols.find((name) => offered.has(name)) ?? false,
  }
  const upgrader = new WebSocketServer(settings)
  let open = true

  const onUpgrade = (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
    if (request.headers.upgrade?.toLowerCase() !== 'websocket') {
      serveAsPlainRequest(server, request, socket, head)
      return
    }
    const refusal = open ? refuse(request, options) : { status: '503 Service Unavailable', text: 'shutting down' }
    if (refusal !== null) {
      answer(socket, refusal.status, refusal.text)
      return
    }
    upgrader.handleUpgrade(request, socket, head, (webSocket) => {
      accept(new WebSocketStream(webSocket, socket, peerOf(request)))
    })
  }

  return {
    listen: () =>
      new Promise((resolve, reject) => {
        server.on('upgrade', onUpgrade)
        if (server.listening) return resolve(boundAddress(server, ''))
        const failed = (error: NodeJS.ErrnoException & { address?: string; port?: number }): void =>
          reject(bindError(error, { host: error.address ?? '', port: error.port ?? 0 }))
        server.once('error', failed)
        server.once('listening', () => {
          server.off('error', failed)
          resolve(boundAddress(server, ''))
        })
      }),
    close: async () => {
      open = false
    },
  }
}

function peerOf(request: IncomingMessage): Peer {
  const { socket } = request
  const protocol = 'encrypted' in socket ? 'wss' : 'ws'
  return { protocol, address: socket.remoteAddress ?? '', port: socket.remotePort ?? 0, request }
}

function refuse(request: IncomingMessage, options: WebSocketOptions): { status: string; text: string } | null {
  const path = (request.url ?? '').split('?', 1)[0]
  if (path !== options.path) return { status: '404 Not Found', text: `MQTT over WebSocket is at ${options.path}` }
  const { origin, host } = request.headers
  if (!originAllowed(origin, host, options.origins ?? [])) {
    return { status: '403 Forbidden', text: `Add ${origin} to webSocket.origins to let this page connect` }
  }
  const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',').map((name) => name.trim())
  if (!subprotocols.some((name) => offered.includes(name))) {
    return { status: '400 Bad Request', text: 'Offer the WebSocket subprotocol "mqtt" [MQTT-6.0.0-3]' }
  }
  return null
}

function answer(socket: Duplex, status: string, text: string): void {
  // The peer may reset while we answer; there is nobody left to tell.
  socket.on('error', () => {})
  const body = `${text}\n`
  socket.end(
    `HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    () => socket.destroy(),
  )
}

/** One WebSocket as a stream of bytes: frames mean nothing, packets may share or span them [v5 MQTT-6.0.0-2]. */
class WebSocketStream implements ByteStream {
  readonly peer: Peer
  readonly source: Duplex
  readonly #webSocket: WebSocket
  #handler: StreamHandler | null = null
  #paused = false
  #state: 'open' | 'ending' | 'closed' = 'open'
  #error: Error | null = null
  /** Messages that were read and not handed on. */
  #held: Buffer[] = []

  constructor(webSocket: WebSocket, socket: Duplex, peer: Peer) {
    this.peer = peer
    this.source = socket
    this.#webSocket = webSocket
    webSocket.on('message', (data, isBinary) => {
      if (this.#state !== 'open') return
      // [v5 MQTT-6.0.0-1]: any other frame than a binary one closes the connection.
      if (!isBinary) this.#fail(new SluiceError('protocol_error', 'a WebSocket text frame [MQTT-6.0.0-1]'), 1003)
      else this.#held.push(data as Buffer)
    })
    // Called after the library has taken all frames out of what was read: small packets in frames of their own go on together.
    socket.on('data', () => this.#deliverHeld())
    webSocket.on('error', (error) => {
      this.#error ??= frameError(error)
    })
    webSocket.on('close', () => this.#closed())
    socket.on('drain', () => {
      if (this.#state === 'open') this.#handler?.drain()
    })
  }

  /** Without compression everything unsent waits in the socket, frame headers included. */
  get bufferedBytes(): number {
    return this.source.writableLength
  }

  setHandler(handler: StreamHandler): void {
    this.#handler = handler
    if (this.#state === 'closed') queueMicrotask(() => handler.closed(this.#error))
    else this.#deliverHeld()
  }

  write(bytes: Buffer, written?: () => void): boolean {
    if (this.#state !== 'open') {
      written?.()
      return false
    }
    this.#webSocket.send(bytes, binary, written)
    return !this.source.writableNeedDrain
  }

  pause(): void {
    this.#paused = true
    this.#webSocket.pause()
  }

  resume(): void {
    this.#paused = false
    this.#deliverHeld()
    if (!this.#paused) this.#webSocket.resume()
  }

  end(): void {
    if (this.#state !== 'open') return
    this.#close(1000)
  }

  destroy(): void {
    this.#webSocket.terminate()
  }

  #deliverHeld(): void {
    const held = this.#held
    if (held.length === 0 || this.#paused || this.#handler === null || this.#state !== 'open') return
    this.#held = []
    this.#data(this.#handler, held.length === 1 ? held[0]! : Buffer.concat(held))
  }

  #data(handler: StreamHandler, bytes: Buffer): void {
    try {
      handler.data(bytes)
    } catch (error) {
      this.#error ??= new SluiceError('invariant', 'a stream handler threw', { cause: error })
      this.destroy()
    }
  }

  #fail(error: SluiceError, code: number): void {
    this.#error ??= error
    this.#close(code)
  }

  #close(code: number): void {
    this.#state = 'ending'
    this.#held = []
    this.#webSocket.close(code)
    // The answer to our close frame is read even when the owner had paused.
    this.#webSocket.resume()
  }

  #closed(): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#handler?.closed(this.#error)
  }
}

/** What `ws` says about a broken frame, in our table's words. */
function frameError(error: Error): Error {
  const code = (error as NodeJS.ErrnoException).code ?? ''
  if (code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH') {
    return new SluiceError('packet_too_large', 'a WebSocket frame above limits.packetBytesMax', { cause: error })
  }
  return code.startsWith('WS_ERR_') ? new SluiceError('protocol_error', error.message, { cause: error }) : error
}
