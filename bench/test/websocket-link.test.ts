import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { WebSocketServer } from 'ws'
import { WebSocketLink } from '../load/websocket-link.ts'

const server = createServer()
const sockets = new WebSocketServer({ server, handleProtocols: () => 'mqtt' })
let link: WebSocketLink | null = null

afterEach(() => link?.close())

/** Connects; `received` resolves once `wanted` bytes came back. */
async function echo(wanted: number): Promise<{ open: Promise<void>; received: Promise<Buffer> }> {
  if (!server.listening) {
    server.listen(0, '127.0.0.1').unref()
    await once(server, 'listening')
    sockets.on('connection', (socket) => socket.on('message', (bytes) => socket.send(bytes)))
  }
  const parts: Buffer[] = []
  let bytes = 0
  let open = (): void => {}
  let done = (_all: Buffer): void => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  const received = new Promise<Buffer>((resolve) => {
    done = resolve
  })
  link = new WebSocketLink(
    { host: '127.0.0.1', port: (server.address() as AddressInfo).port },
    {
      opened: () => open(),
      received(chunk, from, to) {
        parts.push(Buffer.from(chunk.subarray(from, to)))
        bytes += to - from
        if (bytes >= wanted) done(Buffer.concat(parts))
      },
      flushed() {},
      lost(reason) {
        throw new Error(reason)
      },
    },
  )
  return { open: opened, received }
}

test.each([1, 5, 125, 126, 1000, 65_532, 65_533, 200_001])(
  'a message of %i bytes goes out masked and comes back the same (RFC 6455 5.2, 5.3)',
  async (length) => {
    const bytes = Buffer.from(Array.from({ length }, (_, i) => (i * 7 + (i >> 8)) & 0xff))
    const padded = Buffer.concat([Buffer.from('abc'), bytes, Buffer.from('def')])
    const { open, received } = await echo(length)
    await open
    link!.send(padded, 3, 3 + length)
    expect((await received).equals(bytes)).toBe(true)
    expect(padded.subarray(3, 3 + length).equals(bytes)).toBe(true)
  },
)
