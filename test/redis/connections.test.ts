/** The ways to Redis: passwords, databases, TLS, Cluster, Sentinel. */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { connectRedis, type RedisSettings } from '../../src/base/redis-connection.ts'
import type { RedisStore } from '../../src/stores/redis/store.ts'
import { openStore } from '../contract/redis-harness.ts'
import { body, target, waitingTexts } from '../contract/store-contract.ts'
import { Certificates, canMakeCertificates } from '../support/certificate.ts'
import { lastingPort } from '../support/ports.ts'
import { hasRedis, RedisProcess } from '../support/redis-process.ts'

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

describe.skipIf(!hasRedis)('a connection to Redis', () => {
  const undo: (() => unknown)[] = []
  afterEach(async () => {
    for (const each of undo.splice(0).reverse()) await each()
  })

  const start = async (args: string[] = []): Promise<RedisProcess> => {
    const redis = await RedisProcess.start({ appendfsync: 'no', args })
    undo.push(() => redis.stop())
    return redis
  }
  const open = async (redis: RedisSettings, commitTimeoutMs = 3000): Promise<RedisStore> => {
    const store = await openStore(redis, { redis, commitTimeoutMs })
    undo.push(() => store.close().catch(() => {}))
    return store
  }
  /** Writes and reads a little. */
  const works = async (store: RedisStore): Promise<void> => {
    const lane = store.lane('q/a')
    store.append(Buffer.alloc(500, 'x'), [target(store.lane('s/a')), target(store.lane('s/b'))])
    store.append(body('hello'), [target(lane)])
    store.mark(lane, lane.nextSeq - 1, body('mark'))
    store.putRetained('t', body('kept'))
    await store.commit()
    expect((await waitingTexts(store, lane)).at(-1)![1]).toBe('hello')
    expect((await store.marks(lane)).at(-1)!.bytes.toString()).toBe('mark')
  }

  it('gives a user name, a password and a database', async () => {
    const redis = await start(['--requirepass', 'default secret'])
    const { port } = redis
    const admin = await open({ url: `redis://:${encodeURIComponent('default secret')}@127.0.0.1:${port}/3` })
    await works(admin)
    const store = await open({
      url: `redis://127.0.0.1:${port}`,
      username: 'default',
      password: 'default secret',
      database: 3,
    })
    expect(store.lane('q/a').waiting).toBe(1)
    const wrong = open({ url: `redis://127.0.0.1:${port}`, password: 'guess' })
    await expect(wrong).rejects.toMatchObject({ code: 'store_unavailable' })
  })

  it.skipIf(!canMakeCertificates)('speaks TLS with its own authority, and with nobody else’s', async () => {
    const certificates = new Certificates()
    undo.push(() => certificates.remove())
    const { certFile, keyFile } = certificates.make('redis')
    const files = ['--tls-cert-file', certFile, '--tls-key-file', keyFile, '--tls-ca-cert-file', certFile]
    const tlsPort = await lastingPort()
    await start(['--tls-port', String(tlsPort), ...files, '--tls-auth-clients', 'yes'])
    const url = `rediss://localhost:${tlsPort}`
    await works(await open({ url, tls: { caFile: certFile, certFile, keyFile } }))
    await expect(open({ url }, 1000)).rejects.toMatchObject({ code: 'store_unavailable' })
  })

  it.skipIf(!canMakeCertificates)('outlives a server that it does not trust, when it is closed meanwhile', async () => {
    const certificates = new Certificates()
    undo.push(() => certificates.remove())
    const { certFile, keyFile } = certificates.make('redis')
    const files = ['--tls-cert-file', certFile, '--tls-key-file', keyFile, '--tls-ca-cert-file', certFile]
    const tlsPort = await lastingPort()
    await start(['--tls-port', String(tlsPort), ...files, '--tls-auth-clients', 'yes'])
    const uncaught: unknown[] = []
    const note = (error: unknown): void => void uncaught.push(error)
    // The socket's errors, which nobody else would hear.
    process.on('uncaughtException', note)
    undo.push(() => process.off('uncaughtException', note))
    // It does not know the authority, and hears an alert of the server when it hangs up.
    const clients = Array.from({ length: 100 }, () => connectRedis({ url: `rediss://localhost:${tlsPort}` }, 'refused'))
    let refusals = 0
    for (const client of clients) client.on('error', () => refusals++)
    for (const client of clients) {
      await pause(2)
      client.disconnect()
    }
    await expect.poll(() => refusals).toBeGreaterThan(0)
    await pause(100)
    expect(uncaught).toEqual([])
  })

  it('works in a Cluster, where all keys lie in one slot, for several nodes', async () => {
    const bus = ['--cluster-port', String(await lastingPort()), '--cluster-announce-ip', '127.0.0.1']
    const redis = await start(['--cluster-enabled', 'yes', ...bus])
    await redis.admin.call('CLUSTER', 'ADDSLOTSRANGE', '0', '16383')
    while (!/cluster_state:ok/.test(String(await redis.admin.call('CLUSTER', 'INFO')))) await pause(20)
    const settings = { url: redis.url, cluster: true }
    const store = await open(settings)
    const watcher = {
      changed: () => {},
      missed: () => {},
      lost: () => {},
      fenced: () => {},
      passedOver: () => {},
      foundDone: () => false,
    }
    await redis.admin.hset('{sluicemq}:incarnations', 'a', 1)
    await store.shared.join('a', 1, watcher)
    const lane = store.lane('n/a')
    await store.shared.keep(lane)
    const told = new Promise((resolve) => {
      lane.onCommitted = (chunk) => resolve(chunk.message(0).toString())
    })
    const other = await open(settings)
    await works(other)
    other.append(body('from another node'), [target(other.lane('n/a'))])
    await other.commit()
    expect(await told).toBe('from another node')
    const keys = await redis.admin.keys('*')
    expect(keys.filter((key) => !key.startsWith('{sluicemq}:'))).toEqual([])
  })

  it('follows the master that Sentinel names', async () => {
    const master = await start()
    const replica = await start(['--replicaof', '127.0.0.1', String(master.port)])
    while (!/state=online/.test(await master.admin.info('replication'))) await pause(20)
    const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'sluicemq-sentinel-'))
    undo.push(() => fs.rmSync(dir, { recursive: true, force: true }))
    const config = path.join(dir, 'sentinel.conf')
    const monitor = [
      `sentinel monitor main 127.0.0.1 ${master.port} 1`,
      'sentinel down-after-milliseconds main 300',
      'sentinel failover-timeout main 2000',
    ]
    fs.writeFileSync(config, `${monitor.join('\n')}\n`)
    const sentinel = await RedisProcess.startSentinel(config)
    undo.push(() => sentinel.stop())
    while (!/slaves=1/.test(await sentinel.admin.info('sentinel'))) await pause(50)
    const sentinels = [`127.0.0.1:${sentinel.port}`]
    const store = await openStore(
      { url: '' },
      {
        redis: { url: 'redis://', sentinels, sentinelMaster: 'main' },
        commitTimeoutMs: 15_000,
        replicas: { count: 0, aof: false },
      },
    )
    undo.push(() => store.close().catch(() => {}))
    await works(store)
    while ((await replica.admin.xlen('sluicemq:queue:a')) < 1) await pause(10)
    await master.kill()
    store.append(body('after the failover'), [target(store.lane('q/a'))])
    await store.commit()
    expect(await replica.admin.xlen('sluicemq:queue:a')).toBe(2)
  })
})
