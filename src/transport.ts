/**
 * PORT: a listener that yields byte streams and facts about the peer.
 *
 * The broker reads and writes bytes only through `ByteStream`; TCP, TLS, WebSocket and any Node Duplex handed to
 * `broker.handle` look the same behind it.
 */
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'

export interface Peer {
  readonly protocol: 'tcp' | 'tls' | 'ws' | 'wss' | 'stream'
  /** Remote IP address, or '' where there is none. */
  readonly address: string
  readonly port: number
  /** The HTTP upgrade request of a WebSocket. */
  readonly request?: IncomingMessage
}

/** Size of the memory that streams read into again and again, in bytes. */
export const READ_BYTES = 256 * 1024

/** Who receives what a stream has to say. Set once, right after the stream is handed over. */
export interface StreamHandler {
  /**
   * Bytes as they came. They are valid until the call returns: the next read may go into the same memory, so the handler copies
   * what it keeps. A buffer longer than `READ_BYTES` is never used again.
   */
  data(bytes: Buffer): void
  /** Everything written so far has been handed to the operating system. Only after `write` returned false. */
  drain(): void
  /** The stream is gone; called exactly once, also after `destroy`. */
  closed(error: Error | null): void
}

export interface ByteStream {
  readonly peer: Peer
  /** The Node stream underneath (what Aedes' hooks see as `client.conn`). */
  readonly source: Duplex
  /** Bytes written and not yet taken by the operating system. */
  readonly bufferedBytes: number
  setHandler(handler: StreamHandler): void
  /** Queues the bytes; false when `bufferedBytes` is above the high-water mark and `drain` will follow. The bytes must not be changed until `written` is called (once, when they have left the process or the stream closed). */
  write(bytes: Buffer, written?: () => void): boolean
  /** Stops and restarts reading. While stopped, TCP pushes back on the peer. */
  pause(): void
  resume(): void
  /** Sends what is queued, then closes. */
  end(): void
  /** Closes at once. */
  destroy(): void
}

export interface Listener {
  /** Listens; resolves with the address really bound (port 0 gets a real one). */
  listen(): Promise<{ host: string; port: number }>
  /** Stops accepting; connections stay. */
  close(): Promise<void>
}

/** Takes each accepted stream. */
export type Accept = (stream: ByteStream) => void
