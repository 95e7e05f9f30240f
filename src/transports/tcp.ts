/** MQTT over TCP. */
import { createServer, type Server } from 'node:net'
import { bind } from '../base/bind.ts'
import type { Accept, Listener } from '../transport.ts'
import { socketStream } from './duplex.ts'
import { HIGH_WATER_BYTES } from './shared-reading.ts'

export interface TcpOptions {
  readonly host: string
  /** 0: any free port. */
  readonly port: number
  /** Connections the operating system keeps waiting for accept. */
  readonly backlog: number
}

/** A TCP listener that hands each connection to `accept`. `listen` rejects with `address_in_use` or `config_invalid`. */
export function tcpListener(options: TcpOptions, accept: Accept): Listener {
  const serverOptions = { noDelay: true, highWaterMark: HIGH_WATER_BYTES, pauseOnConnect: true }
  const server: Server = createServer(serverOptions, (socket) => accept(socketStream(socket, 'tcp')))
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
