import { once } from 'node:events'
import fs from 'node:fs'
import { connect as connectTcp } from 'node:net'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import type { ByteStream, StreamHandler } from '../../src/transport.ts'
import { type TlsListener, type TlsOptions, tlsListener } from '../../src/transports/tls.ts'
import { BrokerProcess } from '../support/broker-process.ts'
import { Certificates, canMakeCertificates } from '../support/certificate.ts'

const certificates = new Certificates()
const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})
afterAll(() => certificates.remove())

/** What a listener told, and a way to wait for more of it. */
class Told {
  loaded: string[] = []
  rejected: string[] = []
  failed: string[] = []
  readonly #waiting: (() => void)[] = []
  certificateLoaded = (validTo: string): void => this.#tell(this.loaded, validTo)
  certificateRejected = (error: Error): void => this.#tell(this.rejected, error.message)
  handshakeFailed = (_address: string, error: Error): void => this.#tell(this.failed, error.message)
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.#waiting.push(resolve))
  }
  #tell(list: string[], text: string): void {
    list.push(text)
    for (const resolve of this.#waiting.splice(0)) resolve()
  }
}

/** Sends back what it gets. */
class Echo implements StreamHandler {
  readonly #stream: ByteStream
  constructor(stream: ByteStream) {
    this.#stream = stream
    stream.setHandler(this)
  }
  data(bytes: Buffer): void {
    this.#stream.write(bytes)
  }
  drain(): void {}
  closed(): void {}
}

interface Fixture {
  told: Told
  listener: TlsListener
  accepted: ByteStream[]
  port: number
  connect(options?: ConnectionOptions): TLSSocket
}

async function start(options: Partial<TlsOptions> & { certFile: string; keyFile: string }): Promise<Fixture> {
  const told = new Told()
  const accepted: ByteStream[] = []
  const defaults = { host: '127.0.0.1', port: 0, backlog: 16, requestCertificate: false, handshakeTimeoutMs: 5000 }
  const listener = tlsListener({ ...defaults, minVersion: 'TLSv1.2', ...options }, told, (stream) => {
    accepted.push(stream)
    new Echo(stream)
  })
  const { port } = await listener.listen()
  cleanups.push(
    () => listener.close(),
    () => accepted.map((stream) => stream.destroy()),
  )
  const ca = fs.readFileSync(options.certFile)
  return {
    told,
    listener,
    accepted,
    port,
    connect: (more = {}) => {
      const socket = connect({ host: '127.0.0.1', port, ca, ...more })
      socket.on('error', () => {})
      cleanups.push(() => socket.destroy())
      return socket
    },
  }
}

async function echo(socket: TLSSocket, text: string): Promise<void> {
  socket.write(text)
  const [bytes] = await once(socket, 'data')
  expect(String(bytes)).toBe(text)
}

const commonName = (socket: TLSSocket): string => socket.getPeerCertificate().subject.CN as string

describe.skipIf(!canMakeCertificates)('TLS', () => {
  test('carries bytes both ways and names the peer', async () => {
    const { connect, accepted, told } = await start(certificates.make('plain'))
    const socket = connect()
    await once(socket, 'secureConnect')
    await echo(socket, 'hello')
    expect(accepted[0]!.peer).toMatchObject({ protocol: 'tls', address: '127.0.0.1', port: socket.localPort })
    expect(told.loaded).toHaveLength(1)
  })

  test('reload changes the certificate for new connections and keeps those that stand', async () => {
    const files = certificates.make('before')
    const { connect, listener, told } = await start(files)
    const old = connect()
    await once(old, 'secureConnect')
    const next = certificates.make('after')
    fs.copyFileSync(next.certFile, files.certFile)
    fs.copyFileSync(next.keyFile, files.keyFile)
    listener.reload()
    expect(told.loaded).toHaveLength(2)
    const fresh = connect({ ca: fs.readFileSync(next.certFile) })
    await once(fresh, 'secureConnect')
    expect([commonName(old), commonName(fresh)]).toEqual(['before', 'after'])
    await echo(old, 'still there')
  })

  test('files that change are read again without being asked', async () => {
    const files = certificates.make('watched')
    const { connect, told } = await start({ ...files, watchMs: 20 })
    const next = certificates.make('watched-next')
    fs.copyFileSync(next.keyFile, files.keyFile)
    fs.renameSync(next.certFile, files.certFile)
    await told.until(() => told.loaded.length === 2)
    const socket = connect({ ca: fs.readFileSync(files.certFile) })
    await once(socket, 'secureConnect')
    expect(commonName(socket)).toBe('watched-next')
  })

  test('a reload that finds a bad file keeps the certificate and says what is wrong', async () => {
    const files = certificates.make('kept')
    const { connect, listener, told } = await start(files)
    const before = fs.readFileSync(files.certFile)
    fs.writeFileSync(files.certFile, 'nonsense')
    listener.reload()
    expect(told.rejected).toEqual([`tls.certFile: ${files.certFile} is no certificate in PEM`])
    const socket = connect({ ca: before })
    await once(socket, 'secureConnect')
    expect(commonName(socket)).toBe('kept')
  })

  test('each wrong file is named with its setting', async () => {
    const one = certificates.make('one')
    const other = certificates.make('other')
    const broken = certificates.file('broken')
    fs.writeFileSync(broken, '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n')
    const problem = async (files: Partial<TlsOptions>): Promise<unknown> =>
      start({ ...one, ...files }).catch((error) => [error.code, error.message])
    const missing = certificates.file('missing')
    expect(await problem({ certFile: missing })).toEqual(['config_invalid', `tls.certFile: ${missing} does not exist`])
    expect(await problem({ certFile: broken })).toEqual([
      'config_invalid',
      `tls.certFile: ${broken} is no certificate in PEM`,
    ])
    expect(await problem({ keyFile: broken })).toEqual([
      'config_invalid',
      `tls.keyFile: ${broken} is no private key in PEM`,
    ])
    expect(await problem({ keyFile: other.keyFile })).toEqual([
      'config_invalid',
      `tls.keyFile: ${other.keyFile} is not the key of ${one.certFile}`,
    ])
    expect(await problem({ caFile: broken })).toEqual([
      'config_invalid',
      `tls.caFile: ${broken} is no certificate in PEM`,
    ])
  })

  test('requestCertificate lets in clients with a certificate of caFile, and nobody else', async () => {
    const server = certificates.make('server')
    const client = certificates.make('client')
    const stranger = certificates.make('stranger')
    const { connect, accepted, told } = await start({ ...server, caFile: client.certFile, requestCertificate: true })
    const identity = (files: { certFile: string; keyFile: string }): ConnectionOptions => ({
      cert: fs.readFileSync(files.certFile),
      key: fs.readFileSync(files.keyFile),
    })
    await echo(connect(identity(client)), 'welcome')
    for (const options of [identity(stranger), {}]) {
      const refused = connect(options)
      await new Promise((resolve) => refused.once('close', resolve))
    }
    await told.until(() => told.failed.length === 2)
    expect(accepted).toHaveLength(1)
  })

  test('an older version than minVersion is refused', async () => {
    const { connect, told, accepted } = await start({ ...certificates.make('version'), minVersion: 'TLSv1.3' })
    const socket = connect({ maxVersion: 'TLSv1.2' })
    await new Promise((resolve) => socket.once('close', resolve))
    await told.until(() => told.failed.length === 1)
    expect(accepted).toHaveLength(0)
  })

  test('a handshake that is never finished ends in time', async () => {
    const { told, port } = await start({ ...certificates.make('slow'), handshakeTimeoutMs: 100 })
    const socket = connectTcp(port, '127.0.0.1').resume()
    cleanups.push(() => socket.destroy())
    await once(socket, 'close')
    expect(told.failed).toHaveLength(1)
  })

  test('handshakes under way count as connections: one too many is closed at once', async () => {
    const { port } = await start({ ...certificates.make('many'), connectionsMax: 2 })
    const dial = () => connectTcp(port, '127.0.0.1').resume()
    const silent = [dial(), dial()]
    cleanups.push(() => silent.map((socket) => socket.destroy()))
    await Promise.all(silent.map((socket) => once(socket, 'connect')))
    const third = dial().on('error', () => {})
    await once(third, 'close')
    expect(silent.map((socket) => socket.closed)).toEqual([false, false])
  })
})

describe.skipIf(!canMakeCertificates)('sluicemq start with tls', () => {
  test('says mqtts= in the ready line, serves MQTT there, and SIGHUP reads the files again', async () => {
    const files = certificates.make('process')
    const broker = await BrokerProcess.start({ store: 'memory', config: { tls: { port: 0, ...files } } })
    cleanups.push(() => broker.stop())
    const port = Number(new URL(broker.mqtts).port)
    const dial = async (): Promise<TLSSocket> => {
      const socket = connect({ host: '127.0.0.1', port, ca: fs.readFileSync(files.certFile) })
      cleanups.push(() => socket.destroy())
      await once(socket, 'secureConnect')
      socket.write(Buffer.from([0x10, 13, 0, 4, 0x4d, 0x51, 0x54, 0x54, 4, 2, 0, 0, 0, 1, 0x61]))
      expect([...(await once(socket, 'data'))[0]]).toEqual([0x20, 2, 0, 0])
      return socket
    }
    const first = await dial()
    expect(commonName(first)).toBe('process')
    const next = certificates.make('process-next')
    fs.copyFileSync(next.certFile, files.certFile)
    fs.copyFileSync(next.keyFile, files.keyFile)
    process.kill(broker.pid, 'SIGHUP')
    while (broker.stderr.split('certificate loaded').length < 3) await new Promise((resolve) => setTimeout(resolve, 10))
    expect(commonName(await dial())).toBe('process-next')
  })

  test('a bad certificate is a config error that names it', async () => {
    const keyFile = certificates.make('x').keyFile
    const failure = await BrokerProcess.start({ config: { tls: { certFile: keyFile, keyFile } } }).catch(String)
    expect(failure).toContain(`tls.certFile: ${keyFile} is no certificate in PEM`)
  })
})
