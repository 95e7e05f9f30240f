import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import tls from 'node:tls'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { TlsLink } from '../load/link.ts'
import { makeCertificate } from '../peers/certificate.ts'

let directory = ''
let server: tls.Server

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'sluicemq-bench-tls-'))
  const { certFile, keyFile } = await makeCertificate(directory)
  server = tls.createServer({ cert: await readFile(certFile), key: await readFile(keyFile) })
  server.on('secureConnection', (socket) => socket.on('error', () => {}).pipe(socket))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
})

afterAll(async () => {
  server.close()
  await rm(directory, { recursive: true, force: true })
})

test('a link over TLS says when it flushed, hands back what came, and closes without a loss', async () => {
  const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7 + (i >> 8)) & 0xff))
  const parts: Buffer[] = []
  const seen: string[] = []
  const gone = once(server, 'secureConnection').then(([socket]) => once(socket as tls.TLSSocket, 'close'))
  await new Promise<void>((resolve, reject) => {
    let length = 0
    const link: TlsLink = new TlsLink(
      { host: '127.0.0.1', port: (server.address() as AddressInfo).port },
      {
        opened() {
          seen.push('opened')
          if (link.send(bytes, 0, bytes.length)) seen.push('flushed')
          else expect(link.busy).toBe(true)
        },
        received(chunk, from, to) {
          parts.push(Buffer.from(chunk.subarray(from, to)))
          length += to - from
          if (length < bytes.length || !seen.includes('flushed')) return
          link.close()
          resolve()
        },
        flushed: () => void seen.push('flushed'),
        lost: (reason) => reject(new Error(reason)),
      },
    )
  })
  await gone
  expect(Buffer.concat(parts).equals(bytes)).toBe(true)
  expect(seen).toEqual(['opened', 'flushed'])
})
