/**
 * All devices of a run and the desk that commands them, driven by one timer. Messages go out in *turns*: everything
 * that may be sent now is written to the ledger with one write, then published.
 */
import { randomUUID } from 'node:crypto'
import type { QoS } from './account.ts'
import type { Outgoing } from './backlog.ts'
import { now, pause } from './clock.ts'
import { Desk } from './desk.ts'
import { Device } from './device.ts'
import type { Ledger } from './ledger.ts'
import { forgetSession, type ProtocolVersion } from './link.ts'
import type { PayloadTemplate } from './payload.ts'
import type { Profile } from './profile.ts'
import { derivedRandom, type Random } from './random.ts'

const tickMs = 10

export interface FleetOptions {
  readonly run: string
  readonly url: string
  readonly devices: number
  /** Names are `<prefix>-0001` and so on; they are the Client Identifiers. */
  readonly prefix: string
  readonly profile: Profile
  readonly template: PayloadTemplate
  /** Overrides the profile's rate. */
  readonly ratePerSecond?: number
  /** Devices take turns through this list. */
  readonly qos: readonly QoS[]
  readonly protocolVersion: ProtocolVersion
  /** Telemetry messages per device; infinity: until stopped. */
  readonly messagesPerDevice: number
  /** New connections per second. */
  readonly connectRate: number
  readonly seed: number
  readonly ledger: Ledger
}

export interface FleetCounts {
  readonly devices: number
  readonly up: number
  readonly produced: number
  readonly buffered: number
  readonly inflight: number
  readonly discarded: number
  /** Connections made after the first of each device. */
  readonly reconnects: number
}

export class Fleet {
  readonly devices: readonly Device[]
  readonly desk: Desk | null
  readonly #options: FleetOptions
  readonly #random: Random
  readonly #awake = new Set<Device>()
  #turnScheduled = false
  #timer: NodeJS.Timeout | null = null

  constructor(options: FleetOptions) {
    this.#options = options
    this.#random = derivedRandom(options.seed, -1)
    const width = Math.max(4, String(options.devices).length)
    this.devices = Array.from({ length: options.devices }, (_, index) => {
      return new Device({
        ...options,
        name: `${options.prefix}-${String(index + 1).padStart(width, '0')}`,
        telemetryStream: index * 3,
        commandStream: index * 3 + 1,
        replyStream: index * 3 + 2,
        qos: options.qos[index % options.qos.length]!,
        ratePerSecond: options.ratePerSecond ?? options.profile.telemetry.ratePerSecond,
        random: derivedRandom(options.seed, index),
        wake: (device) => this.#wake(device),
      })
    })
    const { commands, status } = options.profile
    this.desk =
      commands === undefined && status === undefined
        ? null
        : new Desk({
            ...options,
            name: `${options.prefix}-desk`,
            devices: this.devices,
            random: this.#random,
            wake: () => this.#schedule(),
          })
  }

  /** Connects everybody, at the connect rate. Resolves when all were connected once or the signal aborts. */
  async connect(signal: AbortSignal): Promise<void> {
    this.desk?.connect()
    await this.#paced(this.devices, (device) => device.connect(), signal)
    while (!signal.aborted && !(this.devices.every((device) => device.connections > 0) && this.#deskReady())) {
      await pause(20, signal)
    }
  }

  /** From now on devices make messages and the desk sends commands. */
  startProducing(): void {
    for (const device of this.devices) device.startProducing()
    this.desk?.startProducing()
    this.#timer = setInterval(() => this.#tick(), tickMs)
  }

  stopProducing(): void {
    for (const device of this.devices) device.stopProducing()
    this.stopCommanding()
  }

  /** Devices go on; no further commands. */
  stopCommanding(): void {
    this.desk?.stopProducing()
  }

  /** Every device has made all its messages. */
  get exhausted(): boolean {
    return this.devices.every((device) => device.produced >= this.#options.messagesPerDevice)
  }

  /** Nothing waits in a device and nothing waits for its acknowledgement. */
  get idle(): boolean {
    return this.devices.every((device) => device.buffered === 0 && device.inflight === 0)
  }

  counts(): FleetCounts {
    const counts = { devices: this.devices.length, up: 0, produced: 0, buffered: 0, inflight: 0 }
    let discarded = 0
    let reconnects = 0
    for (const device of this.devices) {
      if (device.up) counts.up += 1
      counts.produced += device.produced
      counts.buffered += device.buffered
      counts.inflight += device.inflight
      discarded += device.discarded
      reconnects += Math.max(0, device.connections - 1)
    }
    return { ...counts, discarded, reconnects }
  }

  /** Why devices are not connected, as the first of them says; null when nobody complains. */
  get trouble(): Error | null {
    for (const device of this.devices) if (!device.up && device.lastError !== null) return device.lastError
    return null
  }

  async disconnect(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
    await Promise.all(this.devices.map((device) => device.disconnect()))
    await this.desk?.disconnect()
  }

  /**
   * Has the broker forget the sessions under these names: before a run, because a device that lost its memory must
   * not continue an old session (packet identifiers of QoS 2 would be taken for repetitions), and after it, to leave
   * nothing behind.
   */
  async forgetSessions(signal: AbortSignal): Promise<void> {
    const { url, protocolVersion, prefix } = this.#options
    const names = [...this.devices.map((device) => device.name), ...(this.desk === null ? [] : [`${prefix}-desk`])]
    const done: Promise<boolean>[] = []
    await this.#paced(names, (name) => void done.push(forgetSession(url, name, protocolVersion)), signal)
    await Promise.all(done)
  }

  #deskReady(): boolean {
    return this.desk === null || this.desk.ready
  }

  async #paced<T>(items: readonly T[], action: (item: T) => void, signal: AbortSignal): Promise<void> {
    const startedAt = performance.now()
    for (const [index, item] of items.entries()) {
      const earlyMs = (index * 1000) / this.#options.connectRate - (performance.now() - startedAt)
      if (earlyMs > tickMs) await pause(earlyMs, signal)
      if (signal.aborted) return
      action(item)
    }
  }

  #tick(): void {
    const time = now()
    for (const device of this.devices) device.tick(time, this.#options.messagesPerDevice)
    this.desk?.tick(time)
  }

  #wake(device: Device): void {
    this.#awake.add(device)
    this.#schedule()
  }

  #schedule(): void {
    if (this.#turnScheduled) return
    this.#turnScheduled = true
    setImmediate(() => this.#turn())
  }

  #turn(): void {
    this.#turnScheduled = false
    const { ledger } = this.#options
    const awake = [...this.#awake]
    this.#awake.clear()
    const batch: [Device, Outgoing][] = []
    const time = now()
    for (const device of awake) {
      let taken = 0
      for (let message = device.take(taken); message !== null; message = device.take(taken)) {
        taken += 1
        batch.push([device, message])
        ledger.sent(message.stream, message.sequence, message.qos, time)
      }
    }
    ledger.flush()
    for (const [device, message] of batch) device.send(message)
  }
}

/** A short name for a run, used in client identifiers and payloads. */
export function newRunName(): string {
  return randomUUID().slice(0, 6)
}
