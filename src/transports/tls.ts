/** MQTT over TLS. */
import { unwatchFile, watchFile } from 'node:fs'
import { createServer, type SecureContextOptions, type SecureVersion } from 'node:tls'
import { bind } from '../base/bind.ts'
import { type Clock, systemClock } from '../base/clock.ts'
import { SluiceError } from '../errors.ts'
import type { Accept, Listener } from '../transport.ts'
import { type CertificateFiles, readCredentials } from './certificate.ts'
import { duplexStream } from './duplex.ts'

export interface TlsOptions extends CertificateFiles {
  readonly host: string
  /** 0: any free port. */
  readonly port: number
  /** Connections the operating system keeps waiting for accept. */
  readonly backlog: number
  /** Only clients with a certificate signed by one of `caFile` get through. */
  readonly requestCertificate: boolean
  readonly minVersion: SecureVersion
  /** Time from accept to the end of the handshake, in ms. */
  readonly handshakeTimeoutMs: number
  /** Connections at one time, those in the middle of their handshake included; more are closed. Default: any number. */
  readonly connectionsMax?: number
  /** How often the files are looked at, in ms. */
  readonly watchMs?: number
}

/** What happens beside the connections that are accepted. */
export interface TlsObserver {
  /** A certificate is in use from now on. `validTo`: its end, as OpenSSL writes it. */
  certificateLoaded(validTo: string): void
  /** The files changed and are no good: the certificate stays as it was. */
  certificateRejected(error: SluiceError): void
  handshakeFailed(address: string, error: Error): void
}

export interface TlsListener extends Listener {
  /** Reads the files again. Connections stay as they are; new ones get what was read, unless it is no good. */
  reload(): void
}

const WATCH_MS = 5000
/** Certificate and key are replaced one after the other: time to let both arrive, in ms. */
const SETTLE_MS = 1000

/**
 * A TLS listener that hands each connection to `accept` when its handshake is done. The files are read at once, and again
 * by `reload` or when they change.
 *
 * @throws SluiceError config_invalid that names the file that is wrong; `listen` rejects as that of TCP
 */
export function tlsListener(
  options: TlsOptions,
  observer: TlsObserver,
  accept: Accept,
  clock: Clock = systemClock,
): TlsListener {
  const load = (): SecureContextOptions => {
    const { validTo, ...credentials } = readCredentials(options)
    observer.certificateLoaded(validTo)
    return { ...credentials, minVersion: options.minVersion }
  }
  const server = createServer({
    ...load(),
    requestCert: options.requestCertificate,
    rejectUnauthorized: options.requestCertificate,
    handshakeTimeout: options.handshakeTimeoutMs,
    noDelay: true,
    highWaterMark: 64 * 1024,
  })
  server.on('secureConnection', (socket) => {
    const peer = { protocol: 'tls', address: socket.remoteAddress ?? '', port: socket.remotePort ?? 0 } as const
    accept(duplexStream(socket, peer))
  })
  server.on('tlsClientError', (error, socket) => {
    observer.handshakeFailed(socket.remoteAddress ?? '', error)
    // Node leaves it open after the handshake timeout.
    socket.destroy()
  })

  // Those in the middle of their handshake included, which nobody else counts.
  if (options.connectionsMax !== undefined) server.maxConnections = options.connectionsMax

  const reload = (): void => {
    try {
      server.setSecureContext(load())
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      const known = error instanceof SluiceError ? error : new SluiceError('config_invalid', message, { cause: error })
      observer.certificateRejected(known)
    }
  }
  let cancel: (() => void) | null = null
  const changed = (): void => {
    cancel?.()
    cancel = clock.after(SETTLE_MS, reload)
  }
  const files = [options.certFile, options.keyFile, options.caFile].filter((file) => file !== undefined)
  return {
    reload,
    listen: async () => {
      const address = await bind(server, options)
      // By looking, not by inotify: that follows neither a link to another folder nor a file put in the place of the old.
      const watch = { interval: options.watchMs ?? WATCH_MS, persistent: false }
      for (const file of files) watchFile(file, watch, changed)
      return address
    },
    close: async () => {
      cancel?.()
      for (const file of files) unwatchFile(file, changed)
      // `close` calls back only once every connection is gone; the port is free at once.
      server.close()
    },
  }
}
