/** MQTT over WebSocket, on the upgrade requests of an HTTP server [v5 MQTT-6.0.0-1 … -4]. */
import { createHash } from 'node:crypto'
import type { IncomingMessage, Server } from 'node:http'
import type { Duplex } from 'node:stream'
import { bindError, boundAddress } from '../base/bind.ts'
import { originAllowed } from '../base/origin.ts'
import type { Accept, Listener, Peer } from '../transport.ts'
import { serveAsPlainRequest } from './plain-request.ts'
import { WebSocketStream } from './websocket-stream.ts'

export interface WebSocketOptions {
  /** Path of the upgrade request. */
  readonly path: string
  /** Origins of web pages that may connect; `*` for all. A page of this very host and no Origin at all always may. */
  readonly origins?: readonly string[]
}

/** Names in order of preference: MQTT 3.1.1 and 5, then 3.1. */
const subprotocols = ['mqtt', 'mqttv3.1']
/** What a server adds to the key of the client (RFC 6455, 1.3). */
const acceptSuffix = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

/**
 * Serves upgrade requests of `server` from `listen` until `close`; resolves once the server listens, which whoever owns
 * the server brings about. Other paths get 404, a page of a strange origin 403, a missing subprotocol 400
 * [v5 MQTT-6.0.0-3].
 */
export function websocketListener(server: Server, options: WebSocketOptions, accept: Accept): Listener {
  let open = true

  const onUpgrade = (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
    if (request.headers.upgrade?.toLowerCase() !== 'websocket') {
      serveAsPlainRequest(server, request, socket, head)
      return
    }
    const refusal = open ? refuse(request, options) : { status: '503 Service Unavailable', text: 'shutting down' }
    if (refusal !== null) {
      answer(socket, refusal)
      return
    }
    const stream = new WebSocketStream(socket, peerOf(request))
    // What is left of the HTTP server's timeouts.
    request.socket.setTimeout(0)
    socket.write(switching(request))
    if (head.length > 0) socket.unshift(head)
    accept(stream)
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

interface Refusal {
  readonly status: string
  readonly text: string
  /** Header line that says what would be accepted. */
  readonly header?: string
}

function refuse(request: IncomingMessage, options: WebSocketOptions): Refusal | null {
  const path = (request.url ?? '').split('?', 1)[0]
  if (path !== options.path) return { status: '404 Not Found', text: `MQTT over WebSocket is at ${options.path}` }
  const { origin, host } = request.headers
  if (!originAllowed(origin, host, options.origins ?? [])) {
    return { status: '403 Forbidden', text: `Add ${origin} to webSocket.origins to let this page connect` }
  }
  if (request.method !== 'GET') return { status: '405 Method Not Allowed', text: 'Ask with GET', header: 'Allow: GET' }
  if (request.headers['sec-websocket-version'] !== '13') {
    const header = 'Sec-WebSocket-Version: 13'
    return { status: '426 Upgrade Required', text: 'Speak version 13 of the WebSocket protocol', header }
  }
  if (!/^[A-Za-z0-9+/]{22}==$/.test(request.headers['sec-websocket-key'] ?? '')) {
    return { status: '400 Bad Request', text: 'Sec-WebSocket-Key has to be 16 bytes in base64' }
  }
  if (subprotocolOf(request) === undefined) {
    return { status: '400 Bad Request', text: 'Offer the WebSocket subprotocol "mqtt" [MQTT-6.0.0-3]' }
  }
  return null
}

function subprotocolOf(request: IncomingMessage): string | undefined {
  const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',').map((name) => name.trim())
  return subprotocols.find((name) => offered.includes(name))
}

/** The answer that turns the connection into a WebSocket (RFC 6455, 4.2.2) [v5 MQTT-6.0.0-4]. */
function switching(request: IncomingMessage): string {
  const key = createHash('sha1').update(`${request.headers['sec-websocket-key']}${acceptSuffix}`).digest('base64')
  return (
    'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
    `Sec-WebSocket-Accept: ${key}\r\nSec-WebSocket-Protocol: ${subprotocolOf(request)}\r\n\r\n`
  )
}

function answer(socket: Duplex, { status, text, header }: Refusal): void {
  // The peer may reset while we answer; there is nobody left to tell.
  socket.on('error', () => {})
  const body = `${text}\n`
  const more = header === undefined ? '' : `${header}\r\n`
  socket.end(
    `HTTP/1.1 ${status}\r\n${more}Connection: close\r\nContent-Type: text/plain; charset=utf-8\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    () => socket.destroy(),
  )
}
