/**
 * Publishers at three times the speed of their subscribers, and an account of every message:
 * sent = delivered + queued + dropped by cause, for each QoS and kind of session; while memory stays where it is and clients
 * that keep up notice little.
 */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import type { ClientInfo } from '../../src/admin/client-info.ts'
import { BrokerProcess } from '../support/broker-process.ts'
import { RawClient } from '../support/raw-client.ts'
import { mib, ownBytes } from './frozen-readers.ts'

export interface OverloadOptions {
  readonly seconds: number
  /** Messages a second that each subscriber takes; three times as many are published to it. */
  readonly perSecond: number
  readonly payloadBytes: number
  readonly report: (line: string) => void
}

/** One subscriber's account. */
export interface Line {
  readonly name: string
  readonly sent: number
  /** Different messages the subscriber got by the end. */
  readonly delivered: number
  /** Waiting when the publishers stopped, in flight included. */
  readonly queued: number
  readonly dropped: number
  readonly causes: Readonly<Record<string, number>>
  /** QoS 2 messages that came twice, and messages that came out of order. */
  readonly twice: number
  readonly disordered: number
  /** What is wrong with the account; empty: nothing. */
  readonly wrong: string
}

export interface OverloadAccount {
  readonly lines: readonly Line[]
  /** Memory of the broker's own, in bytes: after a fifth of the time, and the highest after that. */
  readonly settledBytes: number
  readonly highestBytes: number
  /** A client that keeps up, at QoS 1: from PUBLISH to its receipt, in ms. */
  readonly p99Ms: number
  readonly maxMs: number
}

const kinds = [0, 1, 2].flatMap((qos) => [
  { qos, clean: true, policy: qos === 2 ? 'drop-oldest' : 'drop-new' },
  { qos, clean: false, policy: qos === 1 ? 'drop-oldest' : 'drop-new' },
])
type Kind = (typeof kinds)[number]

const OVER = 3
const WINDOW = 200
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

export async function runOverload(options: OverloadOptions): Promise<OverloadAccount> {
  const dataDir = fs.mkdtempSync(path.join(os.tmpdir(), 'sluicemq-overload-'))
  const limits = {
    sessionQueuedMessagesMax: 1000,
    sessionQueuedBytesMax: 1000 * options.payloadBytes,
    outboundBytesMax: 1024 * 1024,
    inflightMax: 50,
  }
  const limitOverrides = [{ user: 'drop-oldest', limits: { sessionFullPolicy: 'drop-oldest' } }]
  const broker = await BrokerProcess.start({ dataDir, config: { limits, limitOverrides, log: { level: 'error' } } })
  try {
    return await overload(broker, options)
  } finally {
    await broker.stop()
    fs.rmSync(dataDir, { recursive: true, force: true })
  }
}

async function overload(broker: BrokerProcess, options: OverloadOptions): Promise<OverloadAccount> {
  const { seconds, report } = options
  const pairs = await Promise.all(kinds.map((kind) => Pair.open(broker, kind, options)))
  const healthy = await Healthy.open(broker)
  const begun = performance.now()
  let settledBytes = 0
  let highestBytes = 0
  for (let passed = 0; passed < seconds; passed = (performance.now() - begun) / 1000) {
    const bytes = ownBytes(broker.pid)
    if (passed < seconds / 5) settledBytes = Math.max(settledBytes, bytes)
    else highestBytes = Math.max(highestBytes, bytes)
    await sleep(Math.min(1000, seconds * 20))
    if (Math.floor(passed / 30) < Math.floor((performance.now() - begun) / 30_000))
      report(`${Math.round(passed)} s: ${mib(bytes)} MiB, p99 ${healthy.percentile(0.99).toFixed(1)} ms`)
  }
  await Promise.all(pairs.map((pair) => pair.stopPublishing()))
  const p99Ms = healthy.percentile(0.99)
  const maxMs = healthy.percentile(1)
  await healthy.stop()
  const lines = await Promise.all(pairs.map((pair) => pair.account()))
  return { lines, settledBytes, highestBytes, p99Ms, maxMs }
}

/** A publisher and the one subscriber of its topic, which is too slow. */
class Pair {
  readonly #broker: BrokerProcess
  readonly #kind: Kind
  readonly #options: OverloadOptions
  readonly #name: string
  readonly #reader: RawClient
  readonly #publisher: RawClient
  readonly #seen = new Set<number>()
  #last = -1
  #twice = 0
  #disordered = 0
  #sent = 0
  #acknowledged = 0
  /** What the reader has not answered yet. */
  #unanswered: { type: 'puback' | 'pubrec' | 'pubcomp'; packetId: number }[] = []
  #publishing = true
  #throttled = true
  readonly #done: Promise<void>

  static async open(broker: BrokerProcess, kind: Kind, options: OverloadOptions): Promise<Pair> {
    const name = `qos${kind.qos}-${kind.clean ? 'clean' : 'kept'}-${kind.policy}`
    const reader = await RawClient.connected(broker.mqtt, { clientId: name, clean: kind.clean, userName: kind.policy })
    await reader.subscribe([name, kind.qos])
    const publisher = await RawClient.connected(broker.mqtt, { clientId: `${name}-publisher` })
    return new Pair(broker, kind, options, name, reader, publisher)
  }

  private constructor(
    broker: BrokerProcess,
    kind: Kind,
    options: OverloadOptions,
    name: string,
    reader: RawClient,
    publisher: RawClient,
  ) {
    this.#broker = broker
    this.#kind = kind
    this.#options = options
    this.#name = name
    this.#reader = reader
    this.#publisher = publisher
    this.#listen()
    this.#done = Promise.all([this.#publish(), this.#read()]).then(() => {})
  }

  #listen(): void {
    this.#publisher.onPacket = (packet) => {
      if (packet.type === 'pubrec') this.#publisher.ack('pubrel', packet.packetId)
      if (packet.type === 'puback' || packet.type === 'pubcomp') this.#acknowledged++
      return packet.type === 'puback' || packet.type === 'pubrec' || packet.type === 'pubcomp'
    }
    this.#reader.onPacket = (packet) => {
      if (packet.type === 'pubrel') this.#reader.ack('pubcomp', packet.packetId)
      if (packet.type !== 'publish') return packet.type === 'pubrel'
      const seq = packet.payload.readUInt32BE(0)
      if (this.#seen.has(seq)) this.#twice++
      else if (seq < this.#last) this.#disordered++
      this.#seen.add(seq)
      this.#last = Math.max(this.#last, seq)
      if (packet.qos === 0) this.#pace()
      else if (this.#throttled)
        this.#unanswered.push({ type: packet.qos === 1 ? 'puback' : 'pubrec', packetId: packet.packetId })
      else this.#reader.ack(packet.qos === 1 ? 'puback' : 'pubrec', packet.packetId)
      return true
    }
  }

  /** At QoS 0 a client is slow by not reading. */
  #pace(): void {
    if (this.#throttled && this.#seen.size > this.#quota()) this.#reader.freeze()
  }
  #begun = performance.now()
  #quota(): number {
    return ((performance.now() - this.#begun) / 1000) * this.#options.perSecond
  }

  async #read(): Promise<void> {
    this.#begun = performance.now()
    let answered = 0
    while (this.#publishing) {
      await sleep(10)
      if (this.#kind.qos === 0) {
        if (this.#seen.size < this.#quota()) this.#reader.thaw()
      } else {
        while (answered < this.#quota() && this.#unanswered.length > 0) {
          const { type, packetId } = this.#unanswered.shift()!
          this.#reader.ack(type, packetId)
          answered++
        }
        // What could not be taken is not saved up.
        if (this.#unanswered.length === 0) answered = this.#quota()
      }
    }
  }

  async #publish(): Promise<void> {
    const { perSecond, payloadBytes } = this.#options
    const { qos } = this.#kind
    const begun = performance.now()
    const payload = Buffer.alloc(payloadBytes)
    while (this.#publishing) {
      const due = ((performance.now() - begun) / 1000) * perSecond * OVER
      while (this.#sent < due && (qos === 0 || this.#sent - this.#acknowledged < WINDOW)) {
        payload.writeUInt32BE(this.#sent, 0)
        this.#sent++
        if (!this.#publisher.startPublish({ topic: this.#name, qos, payload })) continue
      }
      if (this.#publisher.unsentBytes > 1024 * 1024) await this.#publisher.drained()
      await sleep(5)
    }
    // Everything that was sent has come in.
    await this.#publisher.ping()
    while (qos > 0 && this.#acknowledged < this.#sent) await sleep(5)
  }

  async stopPublishing(): Promise<void> {
    this.#publishing = false
    await this.#done
  }

  async #info(): Promise<ClientInfo> {
    return (await (await fetch(`${this.#broker.http}/api/v1/clients/${this.#name}`)).json()) as ClientInfo
  }

  /** Lets the subscriber catch up, and counts. */
  async account(): Promise<Line> {
    const { qos } = this.#kind
    const before = await this.#info()
    const seenBefore = this.#seen.size
    this.#throttled = false
    this.#reader.thaw()
    for (const { type, packetId } of this.#unanswered.splice(0)) this.#reader.ack(type, packetId)
    for (let rounds = 0; ; rounds++) {
      const seen = this.#seen.size
      await sleep(100)
      await this.#reader.ping()
      const { queued, inflight, unsentBytes } = await this.#info()
      if ((queued + inflight + unsentBytes === 0 && seen === this.#seen.size) || rounds > 300) break
    }
    const { dropped } = await this.#info()
    const causes = Object.fromEntries(Object.entries(dropped).filter(([, count]) => count > 0))
    const total = Object.values(causes).reduce((a, b) => a + b, 0)
    const queued = before.queued + before.inflight
    const wrong: string[] = []
    if (this.#seen.size + total !== this.#sent) wrong.push(`${this.#sent - this.#seen.size - total} are missing`)
    // Nothing was dropped after the publishers stopped: what was queued then has come since.
    if (qos > 0 && total !== Object.values(before.dropped).reduce((a, b) => a + b, 0))
      wrong.push('drops without a publisher')
    if (qos > 0 && this.#seen.size - seenBefore > queued) wrong.push('more came than was queued')
    if (qos === 2 && this.#twice > 0) wrong.push(`${this.#twice} came twice`)
    if (this.#disordered > 0) wrong.push(`${this.#disordered} came out of order`)
    await this.#reader.disconnect()
    await this.#publisher.disconnect()
    return {
      name: this.#name,
      sent: this.#sent,
      delivered: this.#seen.size,
      queued,
      dropped: total,
      causes,
      twice: this.#twice,
      disordered: this.#disordered,
      wrong: wrong.join(', '),
    }
  }
}

/** A publisher and a subscriber at QoS 1 that keep up. */
class Healthy {
  readonly #publisher: RawClient
  readonly #reader: RawClient
  readonly #latenciesMs: number[] = []
  readonly #timer: NodeJS.Timeout

  static async open(broker: BrokerProcess): Promise<Healthy> {
    const publisher = await RawClient.connected(broker.mqtt, { clientId: 'healthy-publisher' })
    const reader = await RawClient.connected(broker.mqtt, { clientId: 'healthy-reader', clean: false })
    await reader.subscribe(['healthy', 1])
    return new Healthy(publisher, reader)
  }

  private constructor(publisher: RawClient, reader: RawClient) {
    this.#publisher = publisher
    this.#reader = reader
    publisher.onPacket = (packet) => packet.type === 'puback'
    reader.onPacket = (packet) => {
      if (packet.type !== 'publish') return false
      this.#latenciesMs.push(performance.now() - Number(packet.payload))
      reader.ack('puback', packet.packetId)
      return true
    }
    this.#timer = setInterval(
      () => publisher.startPublish({ topic: 'healthy', qos: 1, payload: String(performance.now()) }),
      20,
    )
  }

  percentile(share: number): number {
    const sorted = this.#latenciesMs.toSorted((a, b) => a - b)
    return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
    await Promise.all([this.#publisher.disconnect(), this.#reader.disconnect()])
  }
}

export function formatOverload({ lines, settledBytes, highestBytes, p99Ms, maxMs }: OverloadAccount): string {
  const rows = lines.map(({ name, sent, delivered, queued, dropped, causes, wrong }) => {
    const why = Object.entries(causes).map(([cause, count]) => `${cause} ${count}`)
    return `${name}: sent ${sent} = delivered ${delivered} + dropped ${dropped} (${why.join(', ')}); queued at the end ${queued}${wrong === '' ? '' : ` WRONG: ${wrong}`}`
  })
  rows.push(`memory ${mib(settledBytes)} MiB after a fifth of the time, ${mib(highestBytes)} MiB at most after that`)
  rows.push(`a client that keeps up: p99 ${p99Ms.toFixed(1)} ms, at most ${maxMs.toFixed(1)} ms`)
  return rows.join('\n')
}
