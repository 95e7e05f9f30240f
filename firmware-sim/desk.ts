/**
 * The back office of the fleet: one MQTT client with a persistent session that sends commands to the devices, takes
 * their replies and watches their status.
 */
import { now } from './clock.ts'
import { type Device, readCommand } from './device.ts'
import type { Ledger } from './ledger.ts'
import { Link, type ProtocolVersion } from './link.ts'
import { type Profile, topicFilterOf, topicOf } from './profile.ts'
import type { Random } from './random.ts'

const arrivedAtOnce = { batch: 0, attempt: 1 }

export interface DeskOptions {
  readonly run: string
  readonly name: string
  readonly url: string
  readonly protocolVersion: ProtocolVersion
  readonly profile: Profile
  readonly devices: readonly Device[]
  readonly random: Random
  readonly ledger: Ledger
  /** Called when a reply came or a command was acknowledged. */
  wake(): void
}

export class Desk {
  readonly #options: DeskOptions
  readonly #intervalMs: number
  readonly #dueAt: Float64Array
  readonly #lastCommand: Int32Array
  readonly #replyStreams = new Map<string, number>()
  readonly #statusTopics = new Set<string>()
  #link: Link | null = null
  #subscribed = false
  /** Status messages seen; `offline` also counts the wills. */
  readonly statusSeen = { online: 0, offline: 0 }

  constructor(options: DeskOptions) {
    const { profile, devices } = options
    this.#options = options
    this.#intervalMs = profile.commands === undefined ? Number.POSITIVE_INFINITY : 60_000 / profile.commands.perMinute
    this.#dueAt = new Float64Array(devices.length).fill(Number.POSITIVE_INFINITY)
    this.#lastCommand = new Int32Array(devices.length)
    for (const device of devices) {
      const { replyStream } = device.options
      if (profile.commands) this.#replyStreams.set(topicOf(profile.commands.replyTopic, device.name), replyStream)
      if (profile.status) this.#statusTopics.add(topicOf(profile.status.topic, device.name))
    }
  }

  get ready(): boolean {
    return this.#subscribed && (this.#link?.up ?? false)
  }

  connect(): void {
    const { url, name, protocolVersion, profile, random } = this.#options
    this.#link = new Link({
      url,
      clientId: name,
      protocolVersion,
      keepAliveSeconds: profile.connection.keepAliveSeconds,
      backoff: profile.connection.backoff,
      random,
      onUp: (sessionPresent) => {
        if (!sessionPresent || protocolVersion === 3) this.#subscribed = false
        if (!this.#subscribed) void this.#subscribe()
      },
      onDown: () => {},
      onMessage: (topic, payload) => this.#onMessage(topic, payload),
    })
  }

  startProducing(): void {
    if (this.#options.profile.commands === undefined) return
    const time = now()
    for (let index = 0; index < this.#dueAt.length; index += 1) {
      this.#dueAt[index] = time + this.#intervalMs * this.#options.random()
    }
  }

  stopProducing(): void {
    this.#dueAt.fill(Number.POSITIVE_INFINITY)
  }

  /** Sends the commands that are due to devices that can be commanded; the others stay due. */
  tick(time: number): void {
    if (!this.ready) return
    const due: number[] = []
    for (let index = 0; index < this.#dueAt.length; index += 1) {
      if (this.#dueAt[index]! <= time && this.#options.devices[index]!.subscribed) due.push(index)
    }
    for (const index of due) {
      this.#lastCommand[index]! += 1
      this.#dueAt[index] = Math.max(this.#dueAt[index]! + this.#intervalMs, time)
      const { commandStream } = this.#options.devices[index]!.options
      this.#options.ledger.sent(commandStream, this.#lastCommand[index]!, 1, time)
    }
    if (due.length > 0) this.#options.ledger.flush()
    for (const index of due) this.#send(this.#options.devices[index]!, this.#lastCommand[index]!, time)
  }

  async disconnect(): Promise<void> {
    await this.#link?.end()
  }

  #send(device: Device, command: number, time: number): void {
    const { run, profile, ledger, wake } = this.#options
    const topic = topicOf(profile.commands!.topic, device.name)
    const payload = JSON.stringify({ run, device: device.name, command, name: 'report', time })
    this.#link!.publish(topic, payload, 1, false, (outcome) => {
      ledger[outcome](device.options.commandStream, command, now())
      wake()
    })
  }

  async #subscribe(): Promise<void> {
    const { profile } = this.#options
    const link = this.#link!
    const filters = [profile.commands?.replyTopic, profile.status?.topic].filter((topic) => topic !== undefined)
    const granted = await Promise.all(filters.map((topic) => link.subscribe(topicFilterOf(topic), 1)))
    this.#subscribed = granted.every(Boolean)
  }

  #onMessage(topic: string, payload: Buffer): void {
    const { profile, run, ledger, wake } = this.#options
    if (this.#statusTopics.has(topic)) {
      const text = payload.toString()
      if (text === profile.status!.online) this.statusSeen.online += 1
      if (text === profile.status!.offline) this.statusSeen.offline += 1
      return
    }
    const stream = this.#replyStreams.get(topic)
    const command = stream === undefined ? null : readCommand(payload, run)
    if (stream === undefined || command === null) return
    const time = now()
    ledger.received(stream, command, time, { handedOutAt: time, ...arrivedAtOnce })
    ledger.flush()
    wake()
  }
}
