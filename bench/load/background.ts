/**
 * Subscriptions that stand while the traffic runs and match none of it: what a large tree costs in memory, and what it
 * costs the messages that pass through it.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { type ClientOptions, type ClientWatcher, LoadClient } from './client.ts'
import type { Gate } from './gate.ts'
import type { LoadOptions } from './options.ts'
import { subscribePacket, type Version } from './packets.ts'
import { residentBytes } from './process-cost.ts'
import type { Background } from './result.ts'
import { microseconds } from './stopwatch.ts'

const FILTERS_PER_PACKET = 100
/** Before each look at the memory: an idle broker collects some of its garbage meanwhile. */
const SETTLE_MS = 1_500

/**
 * Filter `index` of a mixed tree: half of ten exact, three with `+`, two with `#`. They lie beside the topics of the
 * traffic (`<prefix>/dev<i>/…`), some in the same first levels and below the same `+`, so that every match has to look
 * at their nodes; none of them matches.
 * @param wildcards leaves the exact ones out
 */
export function backgroundFilter(prefix: string, index: number, wildcards = false): string {
  const unit = `unit${index}`
  switch (index % (wildcards ? 5 : 10)) {
    case 0:
      return `${prefix}/${unit}/+`
    case 1:
      return `${prefix}/+/${unit}/value`
    case 2:
      return `${prefix}/site${index % 200}/+/${unit}`
    case 3:
      return `${prefix}/${unit}/#`
    case 4:
      return `${prefix}/+/${unit}/#`
    default:
      return `${prefix}/site${index % 200}/${unit}/telemetry`
  }
}

export class BackgroundLoad {
  result: Background | null = null
  readonly #options: LoadOptions
  readonly #gate: Gate
  readonly #clients: BackgroundClient[] = []

  constructor(options: LoadOptions, gate: Gate) {
    this.#options = options
    this.#gate = gate
  }

  /** Resolves once every subscription is acknowledged; at once when none is wanted. Rejects when the gate fails. */
  async open(): Promise<void> {
    const { backgroundConnections: count, backgroundSubscriptions: each, connectsAtOnce, brokerPids } = this.#options
    const { prefix, backgroundWildcards: wildcards } = this.#options
    if (count === 0) return
    const own = { clean: true, receiveMaximum: 0, port: this.#options.subscriberPort }
    await this.#gate.openAll(count, connectsAtOnce, (index, watcher) => {
      this.#clients.push(new BackgroundClient({ ...this.#options, ...own, clientId: `bench-b-${index}` }, watcher))
    })
    await this.#gate.race(delay(SETTLE_MS))
    const before = residentBytes(brokerPids)
    const started = microseconds()
    await this.#gate.openAll(count, connectsAtOnce, (index, watcher) => {
      const filters = Array.from({ length: each }, (_, i) => backgroundFilter(prefix, index * each + i, wildcards))
      this.#clients[index]!.subscribe(filters, watcher)
    })
    const seconds = (microseconds() - started) / 1e6
    await this.#gate.race(delay(SETTLE_MS))
    const after = residentBytes(brokerPids)
    const subscriptions = count * each
    this.result = {
      subscriptions,
      subscribesPerSecond: subscriptions / seconds,
      bytesPerSubscription: before === null || after === null ? null : (after - before) / subscriptions,
    }
  }

  close(): void {
    for (const client of this.#clients) client.close()
  }
}

/** Connects, then subscribes when told to, a packet at a time. */
class BackgroundClient extends LoadClient {
  readonly #version: Version
  #filters: readonly string[] = []
  #next = 0
  #subscribed: ClientWatcher | null = null

  constructor(options: ClientOptions, watcher: ClientWatcher) {
    super(options, watcher)
    this.#version = options.version
  }

  subscribe(filters: readonly string[], watcher: ClientWatcher): void {
    this.#filters = filters
    this.#subscribed = watcher
    this.#subscribeMore()
    this.outbox.flush(this.link)
  }

  protected connected(): void {
    this.watcher.ready()
  }

  protected message(header: number, bytes: Buffer, _from: number, to: number): void {
    if (header >> 4 !== 9) {
      this.fail(`a background subscriber got packet type ${header >> 4}`)
      return
    }
    if (bytes[to - 1] !== 0) this.fail(`SUBSCRIBE answered with code ${bytes[to - 1]}`)
    else if (this.#next < this.#filters.length) this.#subscribeMore()
    else {
      this.#filters = []
      this.#subscribed?.ready()
    }
  }

  protected chunkEnd(): void {
    this.outbox.flush(this.link)
  }

  #subscribeMore(): void {
    const filters = this.#filters.slice(this.#next, this.#next + FILTERS_PER_PACKET)
    const packetId = this.#next / FILTERS_PER_PACKET + 1
    this.#next += filters.length
    this.outbox.add(subscribePacket(packetId, filters, 0, this.#version))
  }
}
