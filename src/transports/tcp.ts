/** MQTT over TCP. */
import { createServer, type Server } from 'node:net'
import { bind } from '../base/bind.ts'
import type { Accept, Listener } from '../transport.ts'
import { duplexStream } from './duplex.ts'

export interface TcpOptions {
  readonly host: string
  /** 0: any free port. */
  readonly port: number
  /** Connections the operating system keeps waiting for accept. */
  readonly backlog: number
}

/** A TCP listener that hands each connection to `accept`. `listen` rejects with `address_in_use` or `config_invalid`. */
export function tcpListener(options: TcpOptions, accept: Accept): Listener {
  // Node 20 and 22 differ in the default highWaterMark (16 and 64 KiB); output is written in chunks of 64 KiB.
  const serverOptions = { noDelay: true, highWaterMark: 64 * 1024 }
  const server: Server = createServer(serverOptions, (socket) => {
    accept(duplexStream(socket, { protocol: 'tcp', address: socket.remoteAddress ?? '', port: socket.remotePort ?? 0 }))
  })
  return {
    listen: () => bind(server, options),
    close: () =>
      new Promise((resolve) => {
        // `close` calls back only once every connection is gone; the port is free at once.
        server.close()
        resolve()
      }),
  }
}
