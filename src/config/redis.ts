/** Settings of Redis beside its URL. */
import { z } from 'zod'
import type { RedisSettings } from '../base/redis-connection.ts'
import { integer } from './number.ts'

const pemFile = z.string().min(1).max(4096)
const secret = z.string().min(1).max(1024)

export const redisSchema = z
  .strictObject({
    username: secret.exactOptional().describe('User name, where the URL has none.'),
    password: secret.exactOptional().describe('Password, where the URL has none.'),
    database: integer(0, 1_000_000, 0, 'Number of the database. A Cluster has only 0.'),
    sentinels: z
      .array(z.string().regex(/^.+:\d{1,5}$/, 'host:port'))
      .max(100)
      .default([])
      .describe('Sentinels as `host:port`. They say which server is the master; `redisUrl` then names none.'),
    sentinelMaster: z.string().min(1).max(256).default('mymaster').describe('Name of the master the Sentinels watch.'),
    sentinelPassword: secret.exactOptional().describe('Password of the Sentinels.'),
    cluster: z
      .boolean()
      .default(false)
      .describe(
        '`redisUrl` names a node of a Redis Cluster. All keys lie in one slot: a Cluster gives failover, not more room.',
      ),
    tls: z
      .strictObject({
        caFile: pemFile.exactOptional().describe('Certificates that sign those of the servers, in PEM.'),
        certFile: pemFile.exactOptional().describe('Certificate of this client, in PEM.'),
        keyFile: pemFile.exactOptional().describe('Private key of that certificate, in PEM.'),
      })
      .exactOptional()
      .describe('TLS towards Redis; `rediss://` in the URL does with the authorities of the system.'),
    commitTimeoutMs: integer(
      100,
      600_000,
      5000,
      'A write that Redis has not answered after this long is refused, in ms; so is every write at once while Redis stays away.',
    ),
    answerTimeoutMs: integer(50, 600_000, 2000, 'A connection that is silent for this long is made anew, in ms.'),
    waitReplicas: integer(
      0,
      10,
      0,
      'Replicas that must have a write before it is acknowledged (`WAIT`). 0: the master alone.',
    ),
    waitAof: z
      .boolean()
      .default(false)
      .describe(
        'Acknowledge only what lies in append-only files, of `waitReplicas` replicas too (`WAITAOF`, Redis 7.2).',
      ),
    changesKept: integer(
      1000,
      100_000_000,
      100_000,
      'Changes of sessions, subscriptions and retained messages kept for nodes that fall behind; who falls behind further ' +
        'reads everything again.',
    ),
  })
  .prefault({})
  .describe(
    'Redis, for `store: redis`. What is acknowledged is as durable as its `appendfsync` says: see docs/redis.md.',
  )

export type RedisConfig = z.output<typeof redisSchema>

/** What a connection needs to know. */
export function redisSettings(redisUrl: string | undefined, redis: RedisConfig): RedisSettings {
  const { username, password, database, sentinels, sentinelMaster, sentinelPassword, cluster, tls } = redis
  return {
    url: redisUrl ?? 'redis://127.0.0.1:6379',
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
    ...(database !== 0 && { database }),
    ...(sentinels.length > 0 && { sentinels, sentinelMaster, sentinelPassword }),
    cluster,
    tls,
  }
}
