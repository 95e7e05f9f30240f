/**
 * The broker about itself, under the names Mosquitto gave them: what its dashboards and scripts show, ours can feed.
 *
 * Values are retained messages that are kept in memory only, published when they change: whoever subscribes has all of
 * them at once. They are sent at QoS 0, so that they never wait for anybody and cost the disk nothing.
 * `docs/broker-topics.md` says what each one means.
 */
import type { Clock } from '../base/clock.ts'
import { SluiceError } from '../errors.ts'
import type { Counters } from '../telemetry/counters.ts'
import type { Events } from '../telemetry/events.ts'
import { encodeMessage, NO_EXPIRY, Origin } from './message.ts'
import { Publication } from './publication.ts'
import type { Router } from './router.ts'

/** What is not counted but looked up. */
export interface BrokerFacts {
  sessions: number
  subscriptions: number
  sharedSubscriptions: number
  retainedMessages: number
  /** Messages that wait in sessions and queues. */
  waitingMessages: number
}

export interface SysTopicsContext {
  readonly router: Router
  readonly clock: Clock
  readonly counters: Counters
  readonly events: Events
  /** 0: never. */
  readonly intervalSeconds: number
  readonly version: string
  /** Clients with a connection. */
  connected(): number
  facts(): BrokerFacts
  /** Bytes of JavaScript objects. */
  heapBytes(): number
}

/** What a value is made from. */
interface Reading extends BrokerFacts {
  readonly connected: number
  readonly counters: Counters
  readonly version: string
  readonly uptimeSeconds: number
  readonly startedAt: number
  readonly expired: number
  readonly connectedMax: number
  readonly heapBytes: number
  readonly heapBytesMax: number
}

const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0)
const dropped = ({ dropped }: Counters): number => sum(Object.values(dropped))

/** By topic below `$SYS/broker/`. */
const values: Readonly<Record<string, (reading: Reading) => number | string>> = {
  version: (r) => `sluicemq version ${r.version}`,
  timestamp: (r) => new Date(r.startedAt).toISOString(),
  uptime: (r) => `${r.uptimeSeconds} seconds`,
  'clients/total': (r) => r.sessions,
  'clients/connected': (r) => r.connected,
  'clients/active': (r) => r.connected,
  'clients/disconnected': (r) => r.sessions - r.connected,
  'clients/inactive': (r) => r.sessions - r.connected,
  'clients/maximum': (r) => r.connectedMax,
  'clients/expired': (r) => r.expired,
  'messages/received': (r) => r.counters.packetsReceived,
  'messages/sent': (r) => r.counters.packetsSent,
  'messages/stored': (r) => r.waitingMessages + r.retainedMessages,
  'messages/dropped': (r) => dropped(r.counters),
  'store/messages/count': (r) => r.waitingMessages + r.retainedMessages,
  'publish/messages/received': (r) => sum(r.counters.published),
  'publish/messages/sent': (r) => sum(r.counters.delivered),
  'publish/messages/dropped': (r) => dropped(r.counters),
  'publish/bytes/received': (r) => r.counters.publishBytesReceived,
  'publish/bytes/sent': (r) => r.counters.publishBytesSent,
  'bytes/received': (r) => r.counters.bytesReceived,
  'bytes/sent': (r) => r.counters.bytesSent,
  'subscriptions/count': (r) => r.subscriptions,
  'shared_subscriptions/count': (r) => r.sharedSubscriptions,
  'retained messages/count': (r) => r.retainedMessages,
  'heap/current': (r) => r.heapBytes,
  'heap/maximum': (r) => r.heapBytesMax,
}

/** Counts whose rate per minute is published, by topic below `$SYS/broker/load/`. */
const loads: Readonly<Record<string, (counters: Counters) => number>> = {
  'messages/received': (c) => c.packetsReceived,
  'messages/sent': (c) => c.packetsSent,
  'publish/received': (c) => sum(c.published),
  'publish/sent': (c) => sum(c.delivered),
  'publish/dropped': dropped,
  'bytes/received': (c) => c.bytesReceived,
  'bytes/sent': (c) => c.bytesSent,
  sockets: (c) => c.connectionsOpened,
  connections: (c) => c.connects,
}

const windows = [1, 5, 15] as const

/** Every topic published, for the reference page. */
export const sysTopics: readonly string[] = [
  ...Object.keys(values),
  ...Object.keys(loads).flatMap((load) => windows.map((minutes) => `load/${load}/${minutes}min`)),
].map((name) => `$SYS/broker/${name}`)

/**
 * An exponential moving average of a rate per minute: what happened `t` minutes ago counts e^(-t / window) as much as what
 * happens now.
 */
export class MovingRate {
  readonly #windowMs: number
  #last = 0
  #perMinute = 0

  constructor(windowMinutes: number) {
    this.#windowMs = windowMinutes * 60_000
  }

  /** @param count since the start @param elapsedMs since the last call; more than 0 */
  next(count: number, elapsedMs: number): number {
    const perMinute = ((count - this.#last) * 60_000) / elapsedMs
    this.#last = count
    this.#perMinute = perMinute + Math.exp(-elapsedMs / this.#windowMs) * (this.#perMinute - perMinute)
    return this.#perMinute
  }
}

/** Publishes them, from `start` until `stop`. */
export class SysTopics {
  readonly #c: SysTopicsContext
  /** What was published last, by topic. */
  readonly #published = new Map<string, string>()
  /** Three for each load, in the order of `windows`. */
  readonly #rates = Object.keys(loads).map(() => windows.map((minutes) => new MovingRate(minutes)))
  readonly #publication = new Publication()
  readonly #origin = new Origin('', undefined)
  #offs: (() => void)[] = []
  #startedAt = 0
  #began = 0
  #lastAt = 0
  #connectedMax = 0
  #expired = 0
  #heapBytesMax = 0

  constructor(context: SysTopicsContext) {
    this.#c = context
  }

  start(): void {
    const { clock, events, intervalSeconds, connected } = this.#c
    if (intervalSeconds === 0) return
    this.#startedAt = clock.now()
    this.#began = clock.monotonic()
    this.#lastAt = this.#began
    this.#offs.push(
      events.on('sessionExpired', () => {
        this.#expired++
      }),
      events.on('clientConnected', () => {
        this.#connectedMax = Math.max(this.#connectedMax, connected())
      }),
    )
    this.#publishAll()
    this.#later()
  }

  stop(): void {
    for (const off of this.#offs) off()
    this.#offs = []
  }

  #later(): void {
    const { clock, intervalSeconds } = this.#c
    const cancel = clock.after(intervalSeconds * 1000, () => {
      this.#offs = this.#offs.filter((off) => off !== cancel)
      this.#publishAll()
      this.#later()
    })
    this.#offs.push(cancel)
  }

  #publishAll(): void {
    const reading = this.#read()
    for (const [name, value] of Object.entries(values)) this.#publish(name, String(value(reading)))
    const now = this.#c.clock.monotonic()
    const elapsedMs = now - this.#lastAt
    this.#lastAt = now
    for (const [i, [load, count]] of Object.entries(loads).entries()) {
      for (const [j, minutes] of windows.entries()) {
        const rate = elapsedMs > 0 ? this.#rates[i]![j]!.next(count(reading.counters), elapsedMs) : 0
        this.#publish(`load/${load}/${minutes}min`, rate.toFixed(2))
      }
    }
  }

  #read(): Reading {
    const { clock, counters, version } = this.#c
    const connected = this.#c.connected()
    const heapBytes = this.#c.heapBytes()
    this.#connectedMax = Math.max(this.#connectedMax, connected)
    this.#heapBytesMax = Math.max(this.#heapBytesMax, heapBytes)
    return {
      ...this.#c.facts(),
      connected,
      counters,
      version,
      uptimeSeconds: Math.floor((clock.monotonic() - this.#began) / 1000),
      startedAt: this.#startedAt,
      expired: this.#expired,
      connectedMax: this.#connectedMax,
      heapBytes,
      heapBytesMax: this.#heapBytesMax,
    }
  }

  #publish(name: string, value: string): void {
    if (this.#published.get(name) === value) return
    this.#published.set(name, value)
    const { router, clock } = this.#c
    const message = encodeMessage({
      topic: `$SYS/broker/${name}`,
      clientId: '',
      qos: 0,
      retain: true,
      time: clock.now(),
      properties: Buffer.alloc(0),
      payload: Buffer.from(value),
      expirySeconds: NO_EXPIRY,
    })
    const publication = this.#publication
    publication.load(message, clock.now())
    try {
      const match = router.match(publication.topicBuf, publication.topicStart, publication.topicEnd)
      router.publish(publication, match, { session: null, origin: this.#origin })
    } catch (error) {
      // The operator allows no topics of as many levels: then there are none of them.
      if (error instanceof SluiceError && error.code === 'topic_name_invalid') return
      this.#c.events.emit('internalError', { where: publication.topic, error })
    }
  }
}
