/** Everybody who takes part in a fault run against a real broker, and what each is owed. */
import type { Target } from '../support/raw-client.ts'
import type { Version } from '../support/raw-packets.ts'
import type { SeededRandom } from '../support/seeded-random.ts'
import type { Ledger, Receiver } from './ledger.ts'
import { FaultPublisher } from './publisher.ts'
import { QueueWorker } from './queue-worker.ts'
import { FaultSubscriber } from './subscriber.ts'
import { WillHolder } from './will-holder.ts'

export const LEASE_MS = 1_500
const MAX_ATTEMPTS = 3

const settings = {
  leaseMs: LEASE_MS,
  maxAttempts: 1000,
  backoff: { minMs: 10, maxMs: 100, factor: 2, jitter: 'none' },
}

/** `doomed`: messages that fail often, and end as dead letters. */
export const castConfig = {
  log: { level: 'warn', format: 'json' },
  bridge: [
    { topicFilter: 'fault/queue/#', queue: 'fault' },
    { topicFilter: 'fault/both/#', queue: 'fault' },
    { topicFilter: 'fault/doomed/#', queue: 'doomed' },
  ],
  queues: { fault: settings, doomed: { ...settings, maxAttempts: MAX_ATTEMPTS } },
}

/** Where the broker is; ports stay over its restarts. */
export interface Broker {
  readonly mqtt: { host: string; port: number }
  readonly ws: string
  readonly http: string
}

export interface CastOptions {
  readonly publishers?: number
  readonly versions?: Version[]
  /** Average pause of a publisher between bursts of one to eight messages, ms. */
  readonly paceMs?: number
  readonly window?: number
  /** Kills of the broker so far. */
  readonly kills: () => number
}

export class Cast {
  readonly publishers: FaultPublisher[]
  readonly online: FaultSubscriber
  readonly flapping: FaultSubscriber
  /** Of one shared subscription, each with a session that lasts. */
  readonly members: FaultSubscriber[]
  readonly watcher: FaultSubscriber
  readonly holders: WillHolder[]
  /** The queue's, the doomed queue's and the one of the dead letters. */
  readonly workers: QueueWorker[]
  readonly receivers: Receiver[]
  readonly #ledger: Ledger

  constructor(broker: Broker, ledger: Ledger, random: SeededRandom, options: CastOptions) {
    const { versions = [3, 4, 5], publishers = 6, paceMs = 6, window = 40, kills } = options
    this.#ledger = ledger
    const under = (...kinds: string[]) => {
      const prefixes = kinds.map((kind) => `fault/${kind}/`)
      return (topic: string): boolean => prefixes.some((prefix) => topic.startsWith(prefix))
    }
    const add = (name: string, kind: Receiver['kind'], wants: (topic: string) => boolean): Receiver =>
      ledger.addReceiver({ name, kind, wants })
    const sessions = ['online session', 'flapping session'].map((name) =>
      add(name, 'session', under('session', 'both', 'state')),
    )
    const shared = add('shared subscription', 'group', under('shared'))
    const wills = add('wills', 'wills', under('will'))
    const queue = add('queue', 'queue', under('queue', 'both'))
    const doomed = add('doomed queue', 'queue', under('doomed'))
    this.receivers = [...sessions, shared, wills, queue, doomed]
    const target = (): Target => broker.mqtt
    this.publishers = Array.from({ length: publishers }, (_, i) => {
      const clientId = `publisher-${i}`
      return new FaultPublisher({
        clientId,
        qos: i % 2 === 0 ? 2 : 1,
        version: versions[i % versions.length]!,
        topics: ['queue', 'session', 'both', 'state', 'shared', 'doomed'].map((kind) => {
          return { topic: `fault/${kind}/${i}`, retain: kind === 'state' }
        }),
        target: () => (i % 3 === 2 ? broker.ws : broker.mqtt),
        ledger,
        random: random.fork(clientId),
        window,
        paceMs,
      })
    })
    const subscriber = (clientId: string, receiver: Receiver, version: Version, filters: string[]): FaultSubscriber => {
      const own = random.fork(clientId)
      return new FaultSubscriber({ clientId, version, filters, receiver, target, ledger, random: own, ackDelayMs: 10 })
    }
    const filters = ['fault/session/#', 'fault/both/+', 'fault/state/#']
    this.online = subscriber('online', sessions[0]!, versions.at(-1)!, filters)
    this.flapping = subscriber('flapping', sessions[1]!, versions[0]!, filters)
    this.watcher = subscriber('watcher', wills, versions.at(-1)!, ['fault/will/#'])
    this.members = [0, 1, 2].map((i) =>
      subscriber(`member-${i}`, shared, versions[i % versions.length]!, ['$share/group/fault/shared/#']),
    )
    this.holders = [0, 1, 2].map((i) => {
      const clientId = `holder-${i}`
      const version = versions[i % versions.length]!
      return new WillHolder({ clientId, version, target, ledger, random: random.fork(clientId), kills })
    })
    const url = (): string => broker.http
    const worker = (name: string, receiver: Receiver, more: { dead?: boolean; nackChance?: number }): QueueWorker =>
      new QueueWorker({ queue: name, url, receiver, ledger, random: random.fork(name), leaseMs: LEASE_MS, ...more })
    this.workers = [
      worker('fault', queue, {}),
      worker('doomed', doomed, { nackChance: 0.4 }),
      worker('doomed.dead', doomed, { dead: true }),
    ]
  }

  get subscribers(): FaultSubscriber[] {
    return [this.online, this.flapping, this.watcher, ...this.members]
  }
  get ready(): boolean {
    return this.subscribers.every((subscriber) => subscriber.ready)
  }
  startReceivers(): void {
    for (const subscriber of this.subscribers) subscriber.start()
  }
  startSenders(): void {
    for (const actor of [...this.workers, ...this.publishers, ...this.holders]) actor.start()
  }

  /** One bad thing that clients do. */
  disturb(random: SeededRandom): void {
    const { publishers, flapping, online, members, watcher } = this
    const acts = [
      () => random.pick(publishers).breakConnection(),
      () => random.pick(publishers).abandonConnection(),
      () => online.breakConnection(),
      () => watcher.breakConnection(),
      () => flapping.goOffline(),
      () => flapping.goOnline(),
      () => random.pick(members).goOffline(),
      () => random.pick(members).goOnline(),
    ]
    random.pick(acts)()
  }

  /** No new messages; whoever is owed something comes and takes it. */
  async wind(): Promise<void> {
    for (const worker of this.workers) worker.chaos = false
    for (const publisher of this.publishers) publisher.stopProducing()
    for (const subscriber of this.subscribers) subscriber.goOnline()
    await Promise.all(this.holders.map((holder) => holder.close()))
  }

  /** Nothing is under way any more. */
  get drained(): boolean {
    const owed = this.receivers.reduce((sum, receiver) => sum + this.#ledger.outstanding(receiver), 0)
    const published = this.publishers.every((publisher) => publisher.unacknowledged === 0)
    return published && owed === 0 && this.workers.every(({ emptyPulls }) => emptyPulls >= 3)
  }

  /** Changes as long as something moves. */
  get progress(): string {
    const arrivals = this.receivers.map((receiver) => this.#ledger.arrivals(receiver))
    return [...arrivals, ...this.workers.map(({ acknowledged }) => acknowledged)].join(' ')
  }

  async close(): Promise<void> {
    const all = [...this.holders, ...this.publishers, ...this.subscribers, ...this.workers]
    await Promise.all(all.map((actor) => actor.close()))
  }
}
