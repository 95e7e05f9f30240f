/** A byte stream over any Node Duplex: TCP and TLS sockets, and streams handed to `broker.handle`. */
import type { Duplex } from 'node:stream'
import type { Clock } from '../base/clock.ts'
import type { ByteStream, Peer } from '../transport.ts'
import { SourceStream } from './source-stream.ts'

/** Wraps `source`. Its errors never surface as 'error' events elsewhere; they arrive in `closed`. */
export function duplexStream(source: Duplex, peer: Peer, clock?: Clock): ByteStream {
  return new DuplexStream(source, peer, clock)
}

class DuplexStream extends SourceStream {
  protected read(bytes: Buffer): void {
    if (this.open) this.handler?.data(bytes)
  }

  write(bytes: Buffer, written?: () => void): boolean {
    if (this.open) return this.source.write(bytes, written)
    written?.()
    return false
  }
}
