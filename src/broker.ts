/**
 * The composition root: the only file that picks adapters. It builds every part once, in the order in which they need
 * each other, and starts and stops them in order.
 * Size: whatever is picked, is picked here.
 */
import { hostname } from 'node:os'
import type { Redis } from 'ioredis'
import { forwardToKeeper } from './admin/forward.ts'
import { apiRoutes } from './admin/routes.ts'
import { sample } from './admin/sample.ts'
import { closeAdmin, createAdminServer, listenAdmin } from './admin/server.ts'
import { type AedesOptions, Broker, type BrokerParts } from './aedes/broker.ts'
import { Emitter } from './aedes/emitter.ts'
import { redisFabric } from './aedes/fabric.ts'
import { configFor } from './aedes/options.ts'
import type { AedesPacket } from './aedes/packets.ts'
import { Persistence } from './aedes/persistence.ts'
import type { AuthenticationMethod } from './authenticator.ts'
import { scramSha256 } from './authenticators/scram-sha-256.ts'
import { type Clock, systemClock } from './base/clock.ts'
import { type Random, systemRandom } from './base/random.ts'
import { connectRedis, keyPrefix, untilReady } from './base/redis-connection.ts'
import { keepPulse } from './base/redis-pulse.ts'
import { steadyClock } from './base/steady-clock.ts'
import { packageVersion } from './base/version.ts'
import { RuleBook } from './bridge/rule-book.ts'
import type { Cluster } from './cluster.ts'
import { RedisCluster } from './clusters/redis.ts'
import { redisSettings } from './config/redis.ts'
import type { Config } from './config/schema.ts'
import { Backpressure } from './connection/backpressure.ts'
import type { Core } from './connection/core.ts'
import { TOLD_MAX } from './connection/gate.ts'
import type { Hooks } from './connection/hooks.ts'
import { makeCore } from './connection/make-core.ts'
import { tellWorker } from './connection/worker-topics.ts'
import type { Door } from './door.ts'
import { RedisDoor } from './doors/redis.ts'
import { Doors } from './doorway/doors.ts'
import { KeeperWatch } from './nodes/keeper-watch.ts'
import type { Nodes } from './nodes/nodes.ts'
import { keepQueues, type QueueKeeping } from './nodes/queue-keeping.ts'
import type { MemberQueue } from './queue/member-queue.ts'
import { Queues } from './queue/queues.ts'
import type { Heartbeat, WorkerCommand } from './queue/workers.ts'
import { Commits } from './router/commits.ts'
import type { Destination } from './router/destinations.ts'
import { messageCodec } from './router/message-codec.ts'
import type { Observers } from './router/router.ts'
import { TopicTree } from './router/topic-tree.ts'
import { ClockShift } from './session/clock-shift.ts'
import type { Store, StoreTools } from './store.ts'
import { lmdbStore } from './stores/lmdb.ts'
import { lmdbTools } from './stores/lmdb-tools.ts'
import { memoryStore } from './stores/memory.ts'
import { redisStore } from './stores/redis.ts'
import { ClusterHealth } from './telemetry/cluster-health.ts'
import { Counters } from './telemetry/counters.ts'
import { Drops } from './telemetry/drops.ts'
import { Events } from './telemetry/events.ts'
import { createLog, type Logger } from './telemetry/log.ts'
import { createMetrics } from './telemetry/metrics.ts'
import { ruleMetrics } from './telemetry/rule-metrics.ts'
import { type SelfReport, selfReports } from './telemetry/self-reports.ts'
import { CommitHealth, tellNews, tellStoreEvent, watchHealth } from './telemetry/store-health.ts'
import type { Accept } from './transport.ts'
import { duplexStream } from './transports/duplex.ts'
import { tcpListener } from './transports/tcp.ts'
import { type TlsListener, type TlsObserver, tlsListener } from './transports/tls.ts'
import { websocketListener } from './transports/websocket.ts'

export interface BuildOptions {
  readonly config: Config
  readonly store?: Store
  readonly clock?: Clock
  readonly random?: Random
  readonly events?: Events
  /** Aedes' own options: hooks, id, timeouts. */
  readonly aedes?: AedesOptions
  /** Null: there is one node, and the store is its own. Absent: as `store` in the config asks for. */
  readonly cluster?: Cluster | null
  /** Where workers that do not speak with the broker find messages; absent: as `store` in the config asks for. */
  readonly door?: Door
  /** Methods of enhanced authentication beside the built-in ones; one of the same name replaces it. */
  readonly authenticationMethods?: readonly AuthenticationMethod[]
}

/** A broker that is built and not started, with the parts that serve it to others. */
export interface Built {
  readonly broker: Broker
  readonly queues: Queues
  readonly rules: RuleBook
  readonly events: Events
  /** Whether queues are kept; null: before the start, and where there is one node, which keeps them itself. */
  keeperWatch(): KeeperWatch | null
}

/** What a broker is made of, apart from itself. */
export interface Prepared {
  readonly parts: BrokerParts
  readonly queues: Queues
  readonly rules: RuleBook
  readonly events: Events
  /** See `Built`. */
  keeperWatch(): KeeperWatch | null
}

export function build(options: BuildOptions): Built {
  const { parts, ...rest } = prepare(options)
  return { broker: new Broker(parts, options.aedes), ...rest }
}

export function prepare(options: BuildOptions): Prepared {
  const { random = systemRandom, events = new Events(), aedes = {} } = options
  const clock = steadyClock(options.clock ?? systemClock)
  const config = configFor(aedes, options.config)
  const store = options.store ?? makeStore(config, clock, random, events)
  const cluster = options.cluster === undefined ? makeCluster(config, clock, random, events) : options.cluster
  const door = options.door ?? makeDoor(config, clock, random, cluster)
  const counters = new Counters()
  const backpressure = new Backpressure(store, config.limits.inboundPausedBytes, clock)
  const commits = new Commits(store, new CommitHealth(events, clock), () => backpressure.committed(), clock)
  const tree = new TopicTree<Destination>()
  const rules: RuleBook = new RuleBook({
    configured: config.bridge,
    store,
    clock,
    random,
    tree,
    ensureQueue: (name) => queues.ensure(name),
    intakeOf: (name) => queues.intake(name),
    commit: () => commits.done(),
    report: (where, error) => events.emit('internalError', { where, error }),
  })
  const queues = new Queues({
    store,
    clock,
    random,
    names: { [Symbol.iterator]: () => rules.queueNames.values() },
    settings: config.queues,
    events: {
      leaseExpired: (event) => events.emit('leaseExpired', event),
      deadLettered: (event) => events.emit('deadLettered', event),
      internalError: (event) => events.emit('internalError', event),
    },
    commit: () => commits.done(),
    redisWorkers: door !== null,
  })
  const doors =
    door === null
      ? null
      : new Doors({
          door,
          queues,
          clock,
          // Another node leads within half of the time after which this one is dead.
          graceMs: 2 * config.nodes.timeoutMs + 5000,
          failed: (where, error) => events.emit('doorTroubled', { where, error: String(error) }),
        })
  queues.doorOf = (name) => doors?.factsOf(name)
  const methods = [...scramMethods(config, store, random), ...(options.authenticationMethods ?? [])]
  const authenticationMethods = new Map(methods.map((method) => [method.name, method]))
  const drops = new Drops(events, counters, clock)
  let keeping: QueueKeeping | null = null
  let keeperWatch: KeeperWatch | null = null
  const findQueue = (name: string): MemberQueue | undefined =>
    keeping === null ? queues.find(name) : keeping.find(name)
  const workerHeard = async (id: string, heartbeat: Heartbeat): Promise<WorkerCommand> =>
    keeping === null ? queues.workers.heard(id, heartbeat) : keeping.heard(id, heartbeat)
  const shared = {
    config,
    store,
    clock,
    random,
    events,
    counters,
    backpressure,
    commits,
    tree,
    drops,
    queues,
    findQueue,
    workerHeard,
  }
  const assemble = (hooks: Hooks, observers: Observers): Core =>
    makeCore({ ...shared, authenticationMethods, hooks, observers, cluster })

  const clockShift = new ClockShift({ clock, store, commits })
  const reports: SelfReport[] = []
  const parts: BrokerParts = {
    assemble,
    emitter: new Emitter<AedesPacket>({
      concurrency: 0,
      onError: (error) => events.emit('internalError', { where: 'a subscriber of the broker', error }),
    }),
    persistence: new Persistence(),
    wrap: (stream, peer) => duplexStream(stream, peer, clock),
    restore: async (core) => {
      queues.workers.onTold = (id, command) => tellWorker(core, id, command)
      queues.control.shortage = () => core.storeRoom.shortageNow()
      await core.storeRoom.start()
      await core.nodes?.start()
      for await (const { topic, message } of store.retained()) core.retained.set(topic, message)
      const wanted = Object.keys(config.authentication.scram.users).length > 0
      if (wanted && store.meta(SCRAM_SECRET).size === 0) store.putMeta(SCRAM_SECRET, random.id(32))
      core.wills.storedShiftMs = clockShift.take()
      await core.sessions.restore(core.wills.storedShiftMs)
      clockShift.start()
      rules.restore()
      if (core.nodes === null) {
        await queues.open()
        queues.control.measure()
        rules.link()
        doors?.start()
      } else {
        keeping = keepQueues({ core, nodes: core.nodes, queues, rules, drops, kept: () => doors?.start() })
        await keeping.start()
        keeperWatch = watchKeeper(core.nodes, keeping, clock, config)
      }
      reports.push(...selfReports(core, queues))
      for (const report of reports) report.start()
    },
    release: async (core) => {
      core.storeRoom.stop()
      for (const report of reports) report.stop()
      drops.stop()
      keeperWatch?.stop()
      keeping?.stop()
      await doors?.stop()
      // What moves messages from one lane to another is over before another node keeps the lanes.
      await commits.done().catch(() => {})
      clockShift.stop()
      await core.sessions.claims?.idle()
      await queues.close()
      await core.nodes?.stop()
      commits.close()
      await store.close()
    },
  }
  return { parts, queues, rules, events, keeperWatch: () => keeperWatch }
}

function watchKeeper(nodes: Nodes, keeping: QueueKeeping, clock: Clock, { nodes: { timeoutMs } }: Config): KeeperWatch {
  const watch = new KeeperWatch({
    cluster: nodes.cluster,
    clock,
    leaderAddress: () => nodes.leaderAddress,
    serves: () => keeping.serves,
    // A leader that died passes for alive for `timeoutMs`; another leads within half of that.
    patienceMs: 2 * timeoutMs,
  })
  watch.start()
  return watch
}

function makeStore(config: Config, clock: Clock, random: Random, events: Events): Store {
  switch (config.store) {
    case 'lmdb':
      return lmdbStore({ dir: config.dataDir, clock, compact: compactFrom(config), onEvent: tellNews(events) })
    case 'memory':
      return memoryStore({ clock })
    case 'redis':
      return makeRedisStore(config, clock, random, events)
  }
}

function makeRedisStore({ redisUrl, redis }: Config, clock: Clock, random: Random, events: Events): Store {
  const { commitTimeoutMs, answerTimeoutMs, waitReplicas, waitAof, changesKept } = redis
  return redisStore({
    redis: redisSettings(redisUrl, redis),
    clock,
    random,
    codec: messageCodec,
    commitTimeoutMs,
    answerTimeoutMs,
    replicas: { count: waitReplicas, aof: waitAof },
    changesKept,
    onEvent: (event) => tellStoreEvent(events, event),
  })
}

/** Workers that read Redis Streams; null: there is no Redis. */
function makeDoor(config: Config, clock: Clock, random: Random, cluster: Cluster | null): Door | null {
  if (config.store !== 'redis') return null
  const { redisUrl, redis } = config
  const settings = redisSettings(redisUrl, redis)
  return new RedisDoor({
    connect: () => connectRedis(settings, 'sluicemq doors'),
    clock,
    random,
    prefix: keyPrefix(settings),
    leader: () => (cluster === null ? '' : `${cluster.nodeId} ${cluster.incarnation}`),
    answerTimeoutMs: redis.answerTimeoutMs,
  })
}

/** Nodes that share a Redis; null: there is one. */
function makeCluster(config: Config, clock: Clock, random: Random, events: Events): Cluster | null {
  if (config.store !== 'redis') return null
  const { nodes, redisUrl, redis, limits } = config
  const settings = redisSettings(redisUrl, redis)
  // Different for every process: what an older one of this name left is not taken for ours.
  const nodeId = `${config.nodeId ?? hostname().replace(/[^A-Za-z0-9._-]/g, '-')}.${random.id(3)}`
  const health = new ClusterHealth(events, clock)
  const onError = (where: string, error: unknown): void => health.failed(where, error)
  const [commands, publishing, subscribing] = ['commands', 'messages out', 'messages in'].map((name) =>
    connectRedis(settings, `sluicemq ${nodeId} ${name}`),
  ) as [Redis, Redis, Redis]
  const connections = [commands, publishing, subscribing]
  for (const connection of connections) connection.on('error', (error) => onError('connection', error))
  const pulses = connections.map((connection) => keepPulse(connection, clock, redis.answerTimeoutMs))
  return new RedisCluster({
    nodeId,
    version: packageVersion(),
    clock,
    redis: commands,
    ready: async () => {
      await Promise.all(connections.map((connection) => untilReady(connection, limits.connectTimeoutMs)))
    },
    fabric: redisFabric(publishing, subscribing, (error) => onError('messages', error)),
    prefix: keyPrefix(settings),
    nodeTimeoutMs: nodes.timeoutMs,
    surrenderTimeoutMs: nodes.surrenderTimeoutMs,
    unsentBytesMax: nodes.unsentBytesMax,
    patienceMs: redis.commitTimeoutMs,
    close: () => {
      for (const stop of pulses) stop()
      for (const connection of connections) connection.disconnect()
    },
    onError,
    onHeard: () => health.succeeded(),
  })
}

function compactFrom({ lmdb }: Config): { bytesMin: number; freeShare: number } | undefined {
  const { compactFreePercent, compactBytesMin } = lmdb
  return compactFreePercent === 0 ? undefined : { bytesMin: compactBytesMin, freeShare: compactFreePercent / 100 }
}

/** For `sluicemq store`. */
export const storeTools: StoreTools = lmdbTools

/** Name in the store of what the salts of unknown users are made from. */
const SCRAM_SECRET = 'scramSecret'

/** SCRAM-SHA-256, when the settings name users. */
function scramMethods({ authentication }: Config, store: Store, random: Random): AuthenticationMethod[] {
  const bytes = (text: string): Buffer => Buffer.from(text, 'base64')
  const users = Object.entries(authentication.scram.users).map(([name, user]) => {
    const { salt, iterations, storedKey, serverKey } = user
    return [name, { salt: bytes(salt), iterations, storedKey: bytes(storedKey), serverKey: bytes(serverKey) }] as const
  })
  if (users.length === 0) return []
  const secret = (): Buffer => Buffer.from(String(store.meta(SCRAM_SECRET).get(SCRAM_SECRET)))
  return [scramSha256({ users: new Map(users), random, secret })]
}

/** The listener for TLS, when the settings name a certificate. */
function makeTls({ host, tls, limits }: Config, events: Events, accept: Accept): TlsListener | null {
  if (tls === undefined) return null
  const handshakeTimeoutMs = limits.connectTimeoutMs
  const observer: TlsObserver = {
    certificateLoaded: (validTo) => events.emit('certificateLoaded', { file: tls.certFile, validTo }),
    certificateRejected: ({ message }) => events.emit('certificateRejected', { error: message }),
    handshakeFailed: (address, { message }) =>
      events.emit('connectionRefused', { address, clientId: null, reason: `TLS: ${message}`, error: null }),
  }
  const connectionsMax = limits.connectionsMax + TOLD_MAX
  const options = { ...tls, host, backlog: limits.listenBacklog, handshakeTimeoutMs, connectionsMax }
  return tlsListener(options, observer, accept)
}

/** Where others reach this node. */
function addressOf({ host, port }: { host: string; port: number }): string {
  const name = host === '0.0.0.0' || host === '::' ? hostname() : host
  return `http://${name.includes(':') ? `[${name}]` : name}:${port}`
}

export interface Sluice {
  readonly addresses: {
    readonly mqtt: { host: string; port: number }
    readonly http: { host: string; port: number }
    /** MQTT over TLS, when `tls` is configured. */
    readonly mqtts?: { host: string; port: number }
    /** URL of MQTT over WebSocket. */
    readonly ws: string
  }
  readonly broker: Broker
  readonly queues: Queues
  readonly rules: RuleBook
  /**
   * Resolves when requests about work queues can be answered, too: by another node, where that one keeps them. Where none does for
   * 2 × `nodes.timeoutMs`, it resolves all the same, and `/health/ready` says so.
   */
  readonly ready: Promise<void>
  /** Reads certificate files again, when there are any. */
  reload(): void
  /** Takes no new clients, tells those connected, finishes what is under way, closes the store. */
  stop(): Promise<void>
}

export interface StartDeps {
  readonly events?: Events
  readonly logger?: Logger
  /** Wraps the store, for tests that make it fail. */
  readonly store?: (store: Store) => Store
}

/** Starts everything that `sluicemq start` serves; resolves once clients may connect. */
export async function startSluice(config: Config, deps: StartDeps = {}): Promise<Sluice> {
  const events = deps.events ?? new Events()
  const logger = deps.logger ?? createLog({ ...config.log, level: 'silent' }).logger
  const own = makeStore(config, systemClock, systemRandom, events)
  const { broker, queues, rules, keeperWatch } = build({ config, events, store: deps.store?.(own) ?? own })
  const accept: Accept = (stream) => void broker.accept(stream)
  const tls = makeTls(config, events, accept)
  await broker.listen()
  let stopping = false
  const health = watchHealth(events)
  const registry = createMetrics(events, () => sample(broker.core, queues))
  ruleMetrics(registry, () => rules.samples())
  const app = createAdminServer({
    config,
    rules: () => [...rules].map(({ rule }) => rule.config as Config['bridge'][number]),
    readiness: () => {
      if (stopping) return { ready: false, reason: 'stopping' }
      const watch = keeperWatch()
      const found = health()
      if (!found.ready || watch === null || watch.trouble === null) return found
      return watch.looking ? { ready: false, reason: watch.trouble } : { ready: true, degraded: watch.trouble }
    },
    registry,
    log: logger,
  })
  const { nodes } = broker.core
  if (nodes !== null) forwardToKeeper(app, () => keeperWatch()?.address)
  await app.register(apiRoutes, { core: broker.core, queues, rules })
  const { host, limits } = config
  const tcp = tcpListener({ host, port: config.mqttPort, backlog: limits.listenBacklog }, accept)
  const webSocket = websocketListener(
    app.server,
    {
      path: '/mqtt',
      packetBytesMax: broker.core.limitsBook.highest('packetBytesMax'),
      origins: config.webSocket.origins,
    },
    accept,
  )
  const close = async (): Promise<void> => {
    stopping = true
    await Promise.allSettled([tcp.close(), tls?.close(), webSocket.close()])
    await queues.close()
    for (const { owner } of broker.core.sessions.values())
      owner?.disconnect(0x8b, 'the broker is shutting down', 'server_shutting_down')
    await closeAdmin(app, limits.shutdownMs)
    await new Promise<void>((resolve) => broker.close(resolve))
  }
  try {
    const mqtt = await tcp.listen()
    const mqtts = await tls?.listen()
    const [http] = await Promise.all([
      listenAdmin(app, { host, port: config.httpPort, backlog: limits.listenBacklog }),
      webSocket.listen(),
    ])
    events.emit('started', { mqtt, http })
    await nodes?.cluster.announce({ address: config.nodes.address ?? addressOf(http) })
    const authority = http.host.includes(':') ? `[${http.host}]:${http.port}` : `${http.host}:${http.port}`
    const stop = async (): Promise<void> => {
      events.emit('stopping', { drainMs: limits.shutdownMs })
      await close()
    }
    const addresses = { mqtt, ...(mqtts && { mqtts }), http, ws: `ws://${authority}/mqtt` }
    const ready = keeperWatch()?.settled ?? Promise.resolve()
    return { addresses, broker, queues, rules, ready, reload: () => tls?.reload(), stop }
  } catch (error) {
    await close()
    throw error
  }
}
