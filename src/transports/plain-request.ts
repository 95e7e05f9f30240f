/**
 * Java's HttpClient and `curl --http2` offer `Upgrade: h2c` with every request. RFC 9110, 7.8 lets a server ignore the
 * offer, but Node hands each such request to the 'upgrade' listener as soon as there is one, and so a worker written in
 * Java would get no answer from the queue API. Here the request goes back to the server without the offer.
 */
import type { IncomingMessage, Server } from 'node:http'
import type { Duplex } from 'node:stream'

/** Headers that belong to the offer. `Connection` goes too: HTTP/1.1 keeps connections alive without it. */
const offer = new Set(['upgrade', 'http2-settings', 'connection'])

/** Lets `server` serve `request` as if it had not offered an upgrade. `head`: bytes that followed the request's head. */
export function serveAsPlainRequest(server: Server, request: IncomingMessage, socket: Duplex, head: Buffer): void {
  let text = `${request.method} ${request.url} HTTP/${request.httpVersion}\r\n`
  const raw = request.rawHeaders
  for (let i = 0; i + 1 < raw.length; i += 2) {
    if (!offer.has(raw[i]!.toLowerCase())) text += `${raw[i]}: ${raw[i + 1]}\r\n`
  }
  if (/\bclose\b/i.test(request.headers.connection ?? '')) text += 'Connection: close\r\n'
  // Header values are Latin-1 on the wire and in rawHeaders.
  socket.unshift(Buffer.concat([Buffer.from(`${text}\r\n`, 'latin1'), head]))
  server.emit('connection', socket)
}
