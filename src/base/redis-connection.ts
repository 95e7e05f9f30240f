/** Connections to Redis: one server, Sentinel or Cluster, with or without TLS, from one set of settings. */
import { readFileSync } from 'node:fs'
import type { ConnectionOptions } from 'node:tls'
import type { Cluster, Redis, RedisOptions } from 'ioredis'
import { latePackage } from './late-package.ts'

/** 10 MB of memory and a tenth of a second that a broker with a store of its own can do without. */
const load = latePackage<typeof import('ioredis')>('ioredis')

/** What every client of ioredis does with an error, those included that it makes for itself: Sentinels, nodes and channels of a Cluster. */
interface Emitting {
  silentEmit: (this: Redis, name: string, ...args: unknown[]) => unknown
}

let steady = false

/**
 * ioredis listens for one error of a socket, and TLS may tell two: the alert of a server that refuses our certificate, say, twice.
 * The second would end the process.
 */
function ioredis(): typeof import('ioredis') {
  const loaded = load()
  if (steady) return loaded
  steady = true
  const every = loaded.Redis.prototype as unknown as Emitting
  const { silentEmit } = every
  every.silentEmit = function (name, ...args) {
    if (name === 'error') this.stream?.on('error', () => {})
    return silentEmit.call(this, name, ...args)
  }
  return loaded
}

export type RedisClient = Redis | Cluster

export interface RedisSettings {
  /** `redis://`, `rediss://` or `unix:` URL of one server; of a Cluster, one of its nodes. */
  readonly url: string
  readonly username?: string | undefined
  readonly password?: string | undefined
  /** Number of the database; a Cluster has only 0. */
  readonly database?: number | undefined
  /** Sentinels as `host:port`: they say which server is the master. */
  readonly sentinels?: readonly string[] | undefined
  /** Name of the master the Sentinels watch. */
  readonly sentinelMaster?: string | undefined
  readonly sentinelPassword?: string | undefined
  /** The URL names a node of a Redis Cluster. */
  readonly cluster?: boolean | undefined
  /** PEM files. `caFile` alone is enough to trust a private authority. */
  readonly tls?:
    | { caFile?: string | undefined; certFile?: string | undefined; keyFile?: string | undefined }
    | undefined
  readonly connectTimeoutMs?: number | undefined
}

/** Wait before the n-th try to connect again, in ms: 50, 100, 200 … 2000. */
export const reconnectDelayMs = (tries: number): number => Math.min(2000, 50 * 2 ** Math.min(tries - 1, 10))

/** What stands in front of every key. In a Cluster a hash tag keeps all keys in one slot, as scripts need it. */
export function keyPrefix(settings: RedisSettings): string {
  return settings.cluster === true ? '{sluicemq}:' : 'sluicemq:'
}

/**
 * A connection that connects at once and again and again. A command given while it does not stand fails at once, and one
 * whose connection ends fails without being repeated: who sent it knows whether repeating is safe. Channels are to be subscribed to
 * again after each `ready`.
 */
export function connectRedis(settings: RedisSettings, name: string): RedisClient {
  const { connectTimeoutMs = 5000 } = settings
  const { Redis } = ioredis()
  const secured = settings.tls !== undefined || settings.url.startsWith('rediss:')
  const common: RedisOptions = {
    connectionName: name,
    connectTimeout: connectTimeoutMs,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    // It would do so behind our back, and end the process with the rejection when the connection is lost again just then.
    autoResubscribe: false,
    // Only a number makes the client settle what was under way when the connection ended.
    maxRetriesPerRequest: 0,
    retryStrategy: reconnectDelayMs,
    noDelay: true,
    keepAlive: 10_000,
    ...(settings.username !== undefined && { username: settings.username }),
    ...(settings.password !== undefined && { password: settings.password }),
    ...(settings.database !== undefined && { db: settings.database }),
    ...(secured && { tls: tlsOptions(settings) }),
  }
  if (settings.cluster === true) return connectCluster(settings, common)
  if (settings.sentinels !== undefined && settings.sentinels.length > 0) {
    return new Redis({
      ...common,
      sentinels: settings.sentinels.map(address),
      name: settings.sentinelMaster ?? 'mymaster',
      sentinelRetryStrategy: reconnectDelayMs,
      ...(settings.sentinelPassword !== undefined && { sentinelPassword: settings.sentinelPassword }),
      ...(secured && { enableTLSForSentinelMode: true, sentinelTLS: tlsOptions(settings) }),
    })
  }
  if (settings.url.startsWith('unix:')) return new Redis(settings.url.replace(/^unix:(\/\/)?/, ''), common)
  return new Redis(settings.url, common)
}

function connectCluster(settings: RedisSettings, common: RedisOptions): Cluster {
  const url = new URL(settings.url)
  const { Cluster } = ioredis()
  const { retryStrategy: _single, ...each } = common
  return new Cluster([{ host: url.hostname, port: Number(url.port || 6379) }], {
    enableOfflineQueue: false,
    clusterRetryStrategy: reconnectDelayMs,
    redisOptions: {
      ...each,
      ...(url.username !== '' && { username: decodeURIComponent(url.username) }),
      ...(url.password !== '' && { password: decodeURIComponent(url.password) }),
    },
  })
}

function tlsOptions({ tls = {} }: RedisSettings): ConnectionOptions {
  return {
    ...(tls.caFile !== undefined && { ca: readFileSync(tls.caFile) }),
    ...(tls.certFile !== undefined && { cert: readFileSync(tls.certFile) }),
    ...(tls.keyFile !== undefined && { key: readFileSync(tls.keyFile) }),
  }
}

function address(text: string): { host: string; port: number } {
  const colon = text.lastIndexOf(':')
  return { host: text.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(text.slice(colon + 1)) }
}

/** Ends the connection's sockets now, whatever is under way; it connects again by itself. */
export function breakConnection(client: RedisClient): void {
  for (const server of serversOf(client, 'all')) server.stream?.destroy()
}

/** The connections to the servers: one, or those of a Cluster in this role. */
export function serversOf(client: RedisClient, role: 'all' | 'master'): Redis[] {
  return client.isCluster ? (client as Cluster).nodes(role) : [client as Redis]
}

/** Resolves when commands can be given. Rejects when that takes longer. */
export function untilReady(client: RedisClient, timeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    if (client.status === 'ready') return resolve()
    const ready = (): void => {
      clearTimeout(timer)
      resolve()
    }
    const timer = setTimeout(() => {
      client.off('ready', ready)
      reject(new Error(`Redis does not answer for ${timeoutMs} ms`))
    }, timeoutMs)
    client.once('ready', ready)
  })
}
