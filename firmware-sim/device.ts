/**
 * One simulated device: it makes messages at its rate whether or not it is connected, keeps them in order while it
 * is not, and sends them when it is, with a bounded number under way.
 *
 *     produce ──▶ buffer ──take──▶ [ledger: sent] ──send──▶ in flight ──▶ [ledger: acknowledged]
 */
import type { QoS } from './account.ts'
import { Backlog, type Outgoing } from './backlog.ts'
import { now } from './clock.ts'
import type { Ledger } from './ledger.ts'
import { Link, type ProtocolVersion, type PublishOutcome } from './link.ts'
import type { PayloadTemplate } from './payload.ts'
import { type Profile, topicOf } from './profile.ts'
import type { Random } from './random.ts'

/** Messages of QoS 0 handed to the network in one turn, so that a long backlog does not block the process. */
const qos0PerTurn = 100
const arrivedAtOnce = { batch: 0, attempt: 1 }

export interface DeviceOptions {
  readonly run: string
  readonly name: string
  /** Stream numbers in the ledger. */
  readonly telemetryStream: number
  readonly commandStream: number
  readonly replyStream: number
  readonly qos: QoS
  readonly url: string
  readonly protocolVersion: ProtocolVersion
  readonly profile: Profile
  readonly ratePerSecond: number
  readonly template: PayloadTemplate
  readonly random: Random
  readonly ledger: Ledger
  /** Called when something may be sent: at least once before each `take` that matters. */
  wake(device: Device): void
}

export class Device {
  readonly options: DeviceOptions
  readonly #telemetryTopic: string
  readonly #commandTopic: string | null
  readonly #replyTopic: string
  readonly #intervalMs: number
  #link: Link | null = null
  readonly #backlog: Backlog
  #inflight = 0
  #nextAt = Number.POSITIVE_INFINITY
  #answeredThrough = 0
  produced = 0
  /** True while a subscription to the commands stands. */
  subscribed = false

  constructor(options: DeviceOptions) {
    const { profile, name } = options
    this.options = options
    this.#backlog = new Backlog(profile.offline.bufferMax)
    this.#telemetryTopic = topicOf(profile.telemetry.topic, name)
    this.#commandTopic = profile.commands === undefined ? null : topicOf(profile.commands.topic, name)
    this.#replyTopic = profile.commands === undefined ? '' : topicOf(profile.commands.replyTopic, name)
    this.#intervalMs = 1000 / options.ratePerSecond
    options.ledger.open(options.telemetryStream, 'telemetry', name, this.#telemetryTopic)
    if (this.#commandTopic !== null) {
      options.ledger.open(options.commandStream, 'command', name, this.#commandTopic)
      options.ledger.open(options.replyStream, 'reply', name, this.#replyTopic)
    }
  }

  get name(): string {
    return this.options.name
  }

  get up(): boolean {
    return this.#link?.up ?? false
  }

  get connections(): number {
    return this.#link?.connections ?? 0
  }

  get lastError(): Error | null {
    return this.#link?.lastError ?? null
  }

  /** Messages made and not yet handed to the network. */
  get buffered(): number {
    return this.#backlog.size
  }

  /** Messages given up because the buffer was full. */
  get discarded(): number {
    return this.#backlog.discarded
  }

  /** QoS 1 and 2 messages sent and not acknowledged. */
  get inflight(): number {
    return this.#inflight
  }

  connect(): void {
    const { profile, name, random, url, protocolVersion } = this.options
    const { status, connection } = profile
    this.#link = new Link({
      url,
      clientId: name,
      protocolVersion,
      keepAliveSeconds: connection.keepAliveSeconds,
      backoff: connection.backoff,
      random,
      ...(status === undefined
        ? {}
        : { will: { topic: topicOf(status.topic, name), payload: status.offline, qos: 1, retain: true } }),
      onUp: (sessionPresent) => this.#onUp(sessionPresent),
      onDown: () => {},
      onMessage: (topic, payload) => this.#onMessage(topic, payload),
    })
  }

  /** Makes messages from now on, at the device's rate, beginning at a random moment of the first interval. */
  startProducing(): void {
    this.#nextAt = now() + this.#intervalMs * this.options.random()
  }

  stopProducing(): void {
    this.#nextAt = Number.POSITIVE_INFINITY
  }

  /** Makes what is due at `time`, up to `limit` messages in all. */
  tick(time: number, limit: number): void {
    if (this.#nextAt > time) return
    while (this.#nextAt <= time && this.produced < limit) {
      this.#nextAt += this.#intervalMs
      this.#produce(time)
    }
    if (this.produced >= limit) this.stopProducing()
    this.options.wake(this)
  }

  /** The next message that may go out now, or null. It counts as in flight from here on. */
  take(takenThisTurn: number): Outgoing | null {
    const next = this.#backlog.first
    if (next === undefined || !this.up) return null
    if (next.qos === 0 ? takenThisTurn >= qos0PerTurn : this.#inflight >= this.options.profile.connection.inflightMax) {
      if (next.qos === 0) this.options.wake(this)
      return null
    }
    this.#backlog.removeFirst()
    if (next.qos > 0) this.#inflight += 1
    return next
  }

  /** Publishes a message that `take` gave out and the ledger has. */
  send(message: Outgoing): void {
    this.#link!.publish(message.topic, message.payload, message.qos, false, (outcome) => {
      if (message.qos > 0) this.#onSettled(message, outcome)
    })
  }

  /** Says goodbye: the status becomes offline, and the broker is told not to publish the will. */
  async disconnect(): Promise<void> {
    const link = this.#link
    if (link === null) return
    const { status } = this.options.profile
    if (link.up && status !== undefined) {
      link.publish(topicOf(status.topic, this.name), status.offline, 1, true, () => {})
    }
    await link.end()
  }

  #produce(time: number): void {
    const { run, name, telemetryStream, qos, template, random } = this.options
    this.produced += 1
    const sequence = this.produced
    const payload = template.render({ run, device: name, sequence, time }, random)
    this.#backlog.push({ stream: telemetryStream, sequence, topic: this.#telemetryTopic, payload, qos })
  }

  #onSettled(message: Outgoing, outcome: PublishOutcome): void {
    this.#inflight -= 1
    this.options.ledger[outcome](message.stream, message.sequence, now())
    this.options.wake(this)
  }

  #onUp(sessionPresent: boolean): void {
    const { profile } = this.options
    const link = this.#link!
    if (profile.status !== undefined) {
      link.publish(topicOf(profile.status.topic, this.name), profile.status.online, 1, true, () => {})
    }
    // MQTT 3.1 has no session present flag.
    if (!sessionPresent || this.options.protocolVersion === 3) this.subscribed = false
    if (this.#commandTopic !== null && !this.subscribed) {
      void link.subscribe(this.#commandTopic, 1).then((granted) => {
        this.subscribed = granted
      })
    }
    this.options.wake(this)
  }

  #onMessage(topic: string, payload: Buffer): void {
    if (topic !== this.#commandTopic) return
    const { run, name, commandStream, replyStream, ledger } = this.options
    const command = readCommand(payload, run)
    if (command === null) return
    const time = now()
    ledger.received(commandStream, command, time, { handedOutAt: time, ...arrivedAtOnce })
    ledger.flush()
    // At least once: a command that came before has been answered before.
    if (command <= this.#answeredThrough) return
    this.#answeredThrough = command
    const answer = JSON.stringify({ run, device: name, command, ok: true, time })
    this.#backlog.push({ stream: replyStream, sequence: command, topic: this.#replyTopic, payload: answer, qos: 1 })
    this.options.wake(this)
  }
}

/** The number of a command or of the command that a reply answers; null for anything not of this run. */
export function readCommand(payload: Buffer, run: string): number | null {
  try {
    const value = JSON.parse(payload.toString()) as { run?: unknown; command?: unknown }
    return value.run === run && typeof value.command === 'number' ? value.command : null
  } catch {
    return null
  }
}
