/**
 * Modes flood and rate: subscribers first, then publishers, a warm-up, the measured seconds, and a wait for what is
 * still owed.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { BackgroundLoad } from './background.ts'
import { Gate } from './gate.ts'
import { Histogram, percentiles } from './histogram.ts'
import { type LoadOptions, receiversOf, topicFilterOf, topicsOf } from './options.ts'
import { cpuSeconds, machineCpuSeconds, residentBytes } from './process-cost.ts'
import { Publisher } from './publisher.ts'
import type { ProcessCost, TrafficResult } from './result.ts'
import { microseconds } from './stopwatch.ts'
import { Subscriber } from './subscriber.ts'

/** Between the last SUBACK and the first PUBLISH: brokers that route asynchronously have caught up by then. */
const SETTLE_MS = 200
/** The wait for stragglers ends when nothing came for this long. */
const QUIET_MS = 500
const DRAIN_MAX_MS = 10_000

interface Snapshot {
  readonly at: number
  readonly sent: number
  readonly acknowledged: number
  readonly received: number
  readonly brokerCpu: number | null
  readonly redisCpu: number | null
  readonly loadCpu: number
  readonly machineCpu: number | null
}

export class Traffic {
  readonly #options: LoadOptions
  readonly #gate = new Gate()
  readonly #subscribers: Subscriber[] = []
  readonly #publishers: Publisher[] = []
  readonly #latency = new Histogram()
  readonly #lag = new Histogram()
  readonly #background: BackgroundLoad
  #measuring = false
  #running = false

  constructor(options: LoadOptions) {
    this.#options = options
    this.#background = new BackgroundLoad(options, this.#gate)
  }

  async run(): Promise<TrafficResult> {
    const options = this.#options
    await this.#background.open()
    await this.#connect()
    await this.#gate.race(delay(SETTLE_MS))
    if (options.mode === 'rate') this.#startClock()
    else this.#startFlood()
    await this.#gate.race(delay(options.warmupSeconds * 1000))
    const begin = this.#snapshot()
    this.#measure(true)
    await this.#gate.race(delay(options.seconds * 1000))
    const end = this.#snapshot()
    this.#measure(false)
    this.#running = false
    for (const publisher of this.#publishers) publisher.stop()
    await this.#drain()
    return this.#result(begin, end)
  }

  close(): void {
    this.#gate.close()
    for (const client of [...this.#publishers, ...this.#subscribers]) client.close()
    this.#background.close()
  }

  async #connect(): Promise<void> {
    const options = this.#options
    const { host, port, subscriberPort, transport, version, keepAliveSeconds, clean, window, connectsAtOnce } = options
    const shared = { host, transport, version, keepAliveSeconds }
    await this.#gate.openAll(options.subscribers, connectsAtOnce, (index, watcher) => {
      const own = { port: subscriberPort, clientId: `bench-s-${index}`, clean, receiveMaximum: clean ? 0 : window }
      const topicFilter = topicFilterOf(options, index)
      this.#subscribers.push(new Subscriber({ ...shared, ...own, topicFilter, qos: options.subscribeQos }, watcher))
    })
    await this.#gate.openAll(options.publishers, connectsAtOnce, (index, watcher) => {
      const own = { port, clientId: `bench-p-${index}`, clean: true, receiveMaximum: 0 }
      const { qos, payloadBytes, userProperties } = options
      const topics = topicsOf(options, index)
      this.#publishers.push(
        new Publisher({ ...shared, ...own, topics, qos, payloadBytes, userProperties, window }, watcher),
      )
    })
  }

  /** QoS 0 publishers whose link takes everything get one turn each per turn of the event loop. */
  #startFlood(): void {
    this.#running = true
    let waiting: Publisher[] = []
    let serving: Publisher[] = []
    let scheduled = false
    const serve = (): void => {
      scheduled = false
      const publishers = waiting
      waiting = serving
      serving = publishers
      for (const publisher of publishers) publisher.turn()
      publishers.length = 0
    }
    for (const publisher of this.#publishers) {
      publisher.wantsTurn = (who) => {
        waiting.push(who)
        if (scheduled) return
        scheduled = true
        setImmediate(serve)
      }
    }
    for (const publisher of this.#publishers) publisher.flood()
  }

  /** Publishers share the rate, evenly spread: no two are due at the same moment. Spins, because timers tick in ms. */
  #startClock(): void {
    this.#running = true
    const gap = (1e6 * this.#publishers.length) / this.#options.rate
    const first = microseconds()
    this.#publishers.forEach((publisher, index) => {
      publisher.schedule(first + (index * 1e6) / this.#options.rate, gap)
    })
    const tick = (): void => {
      if (!this.#running) return
      const now = microseconds()
      const lag = this.#measuring ? this.#lag : null
      for (const publisher of this.#publishers) publisher.sendDue(now, lag)
      setImmediate(tick)
    }
    tick()
  }

  #measure(on: boolean): void {
    this.#measuring = on
    if (this.#options.mode !== 'rate') return
    const receivers = this.#subscribers.length > 0 ? this.#subscribers : this.#publishers
    for (const receiver of receivers) receiver.latency = on ? this.#latency : null
  }

  #snapshot(): Snapshot {
    const used = process.cpuUsage()
    return {
      at: microseconds(),
      sent: sum(this.#publishers, (publisher) => publisher.sentCount),
      acknowledged: sum(this.#publishers, (publisher) => publisher.acknowledgedCount),
      received: sum(this.#subscribers, (subscriber) => subscriber.receivedCount),
      brokerCpu: cpuSeconds(this.#options.brokerPids),
      redisCpu: cpuSeconds(this.#options.redisPids),
      loadCpu: (used.user + used.system) / 1e6,
      machineCpu: machineCpuSeconds(),
    }
  }

  /** Receptions the broker owes: every acknowledged message (QoS 1, 2), or in mode rate every sent one, per receiver. */
  #owed(): number | null {
    const { mode, qos } = this.#options
    if (mode === 'flood' && qos === 0) return null
    let owed = 0
    this.#publishers.forEach((publisher, index) => {
      const messages = qos === 0 ? publisher.sentCount : publisher.acknowledgedCount
      owed += messages * receiversOf(this.#options, index)
    })
    return owed
  }

  async #drain(): Promise<void> {
    const owedNow = this.#owed()
    if (owedNow === null) return
    const deadline = microseconds() + DRAIN_MAX_MS * 1000
    let lastCount = -1
    let lastChange = microseconds()
    while (microseconds() < deadline) {
      const { sent, acknowledged, received } = this.#snapshot()
      const settled = this.#options.qos === 0 || acknowledged === sent
      if (settled && received >= this.#owed()!) return
      if (acknowledged + received !== lastCount) lastChange = microseconds()
      else if (microseconds() - lastChange > QUIET_MS * 1000) return
      lastCount = acknowledged + received
      await this.#gate.race(delay(10))
    }
  }

  #result(begin: Snapshot, end: Snapshot): TrafficResult {
    const last = this.#snapshot()
    const owed = this.#owed()
    const elapsedSeconds = (end.at - begin.at) / 1e6
    const counted = this.#subscribers.length > 0 ? end.received - begin.received : end.acknowledged - begin.acknowledged
    const cost = (pids: readonly number[], cpu: number): ProcessCost => ({
      cores: cpu / elapsedSeconds,
      cpuMicrosecondsPerMessage: counted > 0 ? (cpu * 1e6) / counted : 0,
      residentBytes: residentBytes(pids) ?? 0,
      peakResidentBytes: residentBytes(pids, 'peak') ?? 0,
    })
    const between = (pids: readonly number[], from: number | null, to: number | null): ProcessCost | null =>
      from === null || to === null ? null : cost(pids, to - from)
    const rate = this.#options.mode === 'rate'
    return {
      mode: rate ? 'rate' : 'flood',
      elapsedSeconds,
      sentPerSecond: (end.sent - begin.sent) / elapsedSeconds,
      acknowledgedPerSecond: (end.acknowledged - begin.acknowledged) / elapsedSeconds,
      receivedPerSecond: (end.received - begin.received) / elapsedSeconds,
      totals: {
        sent: last.sent,
        acknowledged: last.acknowledged,
        refused: sum(this.#publishers, (publisher) => publisher.refusedCount),
        received: last.received,
        duplicates: sum(this.#subscribers, (subscriber) => subscriber.duplicateCount),
        missing: owed === null ? null : Math.max(0, owed - last.received),
      },
      payloadBytes: this.#options.payloadBytes,
      latencyMicroseconds: rate ? percentiles(this.#latency) : null,
      sendLagMicroseconds: rate ? percentiles(this.#lag) : null,
      broker: between(this.#options.brokerPids, begin.brokerCpu, end.brokerCpu),
      redis: between(this.#options.redisPids, begin.redisCpu, end.redisCpu),
      load: cost([process.pid], end.loadCpu - begin.loadCpu),
      othersCores: othersCores(begin, end),
      background: this.#background.result,
    }
  }
}

function othersCores(begin: Snapshot, end: Snapshot): number | null {
  if (begin.machineCpu === null || end.machineCpu === null || begin.brokerCpu === null || end.brokerCpu === null) {
    return null
  }
  const redis = (end.redisCpu ?? 0) - (begin.redisCpu ?? 0)
  const own = end.brokerCpu - begin.brokerCpu + redis + (end.loadCpu - begin.loadCpu)
  const others = end.machineCpu - begin.machineCpu - own
  return Math.max(0, (others * 1e6) / (end.at - begin.at))
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  let total = 0
  for (const item of items) total += of(item)
  return total
}
