/**
 * The same tests over several nodes: with `TEST_NODES=2` the brokers of `broker-inline.ts` are two nodes over one Redis, and
 * each new connection goes to the next of them. `TEST_REDIS_URL` names the Redis; each broker has a database of its own.
 */
import type { Aedes } from 'aedes'
import { Redis } from 'ioredis'
import { type Sluice, startSluice } from '../../src/broker.ts'
import type { Config } from '../../src/config/schema.ts'
import { createBroker } from '../../src/embed.ts'
import { type EventMap, type EventName, Events } from '../../src/telemetry/events.ts'
import type { EmbeddedBroker, InlineBroker } from './broker-inline.ts'
import { StoreFaults } from './faulty-store.ts'
import { inTurn, nodesOfTests, serve, spread } from './spread.ts'

/** Databases of the Redis of tests. */
export const DATABASES = 4096

/** Settings of a test's broker, and the folder it may write into. */
export interface Configured {
  readonly config: Config
  removeFiles(): void
}

/** A database in which nothing is. */
export async function freeDatabase(): Promise<{ url: string; database: number }> {
  const url = process.env['TEST_REDIS_URL']
  if (url === undefined) throw new Error('several nodes need TEST_REDIS_URL')
  const redis = new Redis(url)
  const database = 1 + ((await redis.incr('databases')) % (DATABASES - 1))
  await redis.select(database)
  await redis.flushdb()
  redis.disconnect()
  return { url, database }
}

async function overRedis(config: Config): Promise<Config> {
  const { url, database } = await freeDatabase()
  return { ...config, store: 'redis', redisUrl: url, redis: { ...config.redis, database } }
}

/** What `startSluice` serves, by as many nodes as `TEST_NODES` says. */
export async function startNodes({ config, removeFiles }: Configured): Promise<InlineBroker> {
  const shared = await overRedis(config)
  const events = new Events()
  const nodes: Sluice[] = []
  for (let i = 0; i < nodesOfTests; i++) nodes.push(await startSluice(shared, { events: new Relay(events) }))
  const mqtt = await spread(nodes.map(({ addresses }) => addresses.mqtt))
  const web = await spread(nodes.map(({ addresses }) => addresses.http))
  const urls = nodes.map(({ addresses: { http } }) => `http://${http.host}:${http.port}`)
  return {
    mqtt: mqtt.address,
    ws: `ws://${web.address.host}:${web.address.port}/mqtt`,
    // Not the one that leads: what it is asked about queues it has to pass on.
    http: urls.at(-1)!,
    nodes: urls,
    events,
    async stop() {
      await Promise.all(nodes.map((node) => node.stop()))
      await Promise.all([mqtt.close(), web.close()])
      removeFiles()
    },
  }
}

/** The embedding face of as many nodes: what is set and listened to holds for all, what is called is called on the first. */
export async function embedNodes({ config, removeFiles }: Configured): Promise<EmbeddedBroker> {
  const shared = await overRedis(config)
  const events = new Events()
  const start = async () => {
    const brokers: Aedes[] = []
    for (let i = 0; i < nodesOfTests; i++)
      brokers.push((await createBroker({ config: shared, events: new Relay(events) })) as unknown as Aedes)
    const next = inTurn(brokers)
    const server = await serve((socket) => void next().handle(socket))
    const stop = async (): Promise<void> => {
      const closed = server.close()
      await Promise.all(brokers.map((broker) => new Promise<void>((resolve) => broker.close(() => resolve()))))
      await closed
    }
    return { face: faceOf(brokers), mqtt: server.address, stop }
  }
  let running = await start()
  return {
    get mqtt() {
      return running.mqtt
    },
    get aedes() {
      return running.face
    },
    events,
    faults: new NoFaults(),
    async restart() {
      await running.stop()
      running = await start()
    },
    async stop() {
      await running.stop()
      removeFiles()
    },
  }
}

/** Events of one node, heard by those who listen to all nodes too. */
class Relay extends Events {
  readonly #all: Events
  constructor(all: Events) {
    super()
    this.#all = all
  }
  override has(name: EventName): boolean {
    return super.has(name) || this.#all.has(name)
  }
  override emit<K extends EventName>(name: K, event: EventMap[K]): void {
    super.emit(name, event)
    this.#all.emit(name, event)
  }
}

/** A Redis is broken in other ways (test/fault): what would break it here says so, what would heal it may. */
class NoFaults extends StoreFaults {
  constructor() {
    super()
    const unbroken = { failing: false, error: null, delayMs: 0 }
    for (const [key, value] of Object.entries(unbroken))
      Object.defineProperty(this, key, { get: () => value, set: (to) => (to === value ? undefined : this.hold()) })
  }
  override hold(): void {
    throw new Error('a scenario that breaks the store is about one node: name it in test/two-nodes/one-node.json')
  }
}

const listening = new Set<PropertyKey>(['on', 'once', 'off', 'addListener', 'removeListener', 'removeAllListeners'])

function faceOf(brokers: readonly Aedes[]): Aedes {
  const face: Aedes = new Proxy(brokers[0]!, {
    get(first, key) {
      if (key === 'connectedClients') return brokers.reduce((sum, { connectedClients }) => sum + connectedClients, 0)
      const value: unknown = Reflect.get(first, key)
      if (typeof value !== 'function') return value
      if (!listening.has(key)) return value.bind(first)
      return (...args: unknown[]) => {
        for (const broker of brokers) Reflect.apply(Reflect.get(broker, key), broker, args)
        return face
      }
    },
    set: (_first, key, value) => brokers.every((broker) => Reflect.set(broker, key, value)),
  })
  return face
}
