/**
 * One run from beginning to end. The command line and the demo drive it through these steps, in this order:
 *
 *     open ──▶ connect ──▶ produce ──▶ settle ──▶ drain ──▶ close
 */

import type { QoS } from './account.ts'
import { now, pause } from './clock.ts'
import { Fleet, newRunName } from './fleet.ts'
import { Ledger } from './ledger.ts'
import type { ProtocolVersion } from './link.ts'
import { PayloadTemplate } from './payload.ts'
import type { Profile } from './profile.ts'
import { QueueApi, QueueApiError } from './queue-api.ts'
import { type Summary, summarize } from './summary.ts'
import { Workers } from './workers.ts'

const pollMs = 50

export interface SimulationOptions {
  /** Where devices connect: `mqtt://`, `mqtts://`, `ws://` or `wss://`. */
  readonly url: string
  /** Where workers pull: the broker's HTTP address. */
  readonly http: string
  readonly devices: number
  readonly profile: Profile
  /** Messages per second and device; without it the profile's. */
  readonly ratePerSecond?: number
  /** Devices take turns through this list. */
  readonly qos: readonly QoS[]
  readonly protocolVersion: ProtocolVersion
  /** Telemetry messages per device, or how long devices go on. */
  readonly until: { readonly messages: number } | { readonly durationMs: number }
  readonly queue: string
  /** 0: nobody receives, and nothing is said about what arrived. */
  readonly workers: number
  readonly leaseMs: number
  /** Directory of the ledger files. */
  readonly ledgerDir: string
  readonly seed: number
  /** Beginning of the client identifiers; without it one that no other run has. */
  readonly prefix?: string
  /** Connections per second while the fleet comes up. */
  readonly connectRate: number
  /** How long to wait, without any progress, for acknowledgements and for the queue to drain. */
  readonly patienceMs: number
  /** Leave the sessions in the broker when the run is over. */
  readonly keepSessions: boolean
}

/** The run could not take place: exit code 3. */
export class CannotRunError extends Error {
  override readonly name = 'CannotRunError'
}

export class Simulation {
  readonly options: SimulationOptions
  readonly run = newRunName()
  readonly ledger: Ledger
  readonly fleet: Fleet
  readonly workers: Workers
  readonly startedAt = now()

  /** Creates the ledger file. */
  constructor(options: SimulationOptions) {
    this.options = options
    const { profile, devices, seed, queue } = options
    const template = new PayloadTemplate(profile.telemetry.payload)
    this.ledger = Ledger.create(options.ledgerDir, {
      run: this.run,
      startedAt: new Date(this.startedAt).toISOString(),
      profile: profile.name,
      devices,
      seed,
      queue,
      payload: profile.telemetry.payload,
      measured: options.workers > 0,
    })
    this.fleet = new Fleet({
      ...options,
      run: this.run,
      prefix: options.prefix ?? `sim-${this.run}`,
      template,
      messagesPerDevice: 'messages' in options.until ? options.until.messages : Number.POSITIVE_INFINITY,
      ledger: this.ledger,
    })
    this.workers = new Workers({ ...options, run: this.run, template, ledger: this.ledger })
  }

  /** Makes sure there is a queue to take from. Throws `CannotRunError`. */
  async open(): Promise<void> {
    const { http, queue, workers, patienceMs } = this.options
    if (workers === 0) return
    try {
      await new QueueApi(http, queue).infoInTime(patienceMs)
    } catch (error) {
      if (error instanceof QueueApiError) {
        throw new CannotRunError(`the queue ${queue} cannot be used: ${error.message}. ${error.action}`)
      }
      throw new CannotRunError(`no answer from ${http}: is the broker running, and is this its HTTP address?`)
    }
  }

  /** Connects the fleet and starts the workers. Throws `CannotRunError` when no device comes through. */
  async connect(signal: AbortSignal): Promise<void> {
    const { devices, connectRate, patienceMs, url } = this.options
    const limit = AbortSignal.any([signal, AbortSignal.timeout((devices / connectRate) * 2_000 + patienceMs)])
    if (this.options.prefix !== undefined) await this.fleet.forgetSessions(limit)
    await this.fleet.connect(limit)
    if (!signal.aborted && this.fleet.counts().up === 0) {
      throw new CannotRunError(`no device could connect to ${url}: ${this.fleet.trouble?.message ?? 'no answer'}`)
    }
    this.workers.start()
  }

  /** Has devices make messages until they have made enough, or the signal aborts. */
  async produce(signal: AbortSignal): Promise<void> {
    const { until } = this.options
    this.fleet.startProducing()
    if ('durationMs' in until) {
      await pause(until.durationMs, signal)
    } else {
      while (!this.fleet.exhausted && !signal.aborted) await pause(pollMs, signal)
    }
    this.fleet.stopProducing()
  }

  /** Waits until everything made is sent and acknowledged, as long as there is progress. */
  settle(signal: AbortSignal): Promise<void> {
    const { telemetry, command, reply } = this.ledger.account.totals
    return this.#patiently(
      signal,
      () => this.fleet.idle && command.unacknowledged === 0,
      () => telemetry.acknowledged + command.acknowledged + reply.acknowledged + telemetry.sent,
    )
  }

  /** Waits until everything acknowledged has arrived and the queue is empty, as long as there is progress. */
  async drain(signal: AbortSignal): Promise<void> {
    const { telemetry, command, reply } = this.ledger.account.totals
    const expectQueue = this.options.workers > 0
    const arrived = (): number => telemetry.received + telemetry.duplicated + command.received + reply.received
    const complete = (): boolean =>
      (!expectQueue || telemetry.missing === 0) && command.missing === 0 && reply.missing === 0 && this.fleet.idle
    await this.#patiently(signal, complete, arrived)
    if (!expectQueue) return
    let inQueue = await this.workers.inQueue()
    await this.#patiently(
      signal,
      async () => {
        inQueue = await this.workers.inQueue()
        return inQueue === 0
      },
      () => arrived() - (inQueue ?? 0) / 1e9,
    )
  }

  /** Ends the connections and the ledger. `complete` false: the run was cut short and its account says so. */
  async close(complete: boolean): Promise<void> {
    await this.workers.stop()
    await this.fleet.disconnect()
    if (!this.options.keepSessions) await this.fleet.forgetSessions(AbortSignal.timeout(10_000))
    if (complete) this.ledger.ended(now())
    this.ledger.close()
  }

  summary(): Summary {
    const { run, options, fleet, workers, ledger } = this
    return summarize(
      {
        run,
        profile: options.profile.name,
        devices: options.devices,
        seed: options.seed,
        queue: options.queue,
        startedAt: new Date(this.startedAt).toISOString(),
        payload: options.profile.telemetry.payload,
        measured: options.workers > 0,
      },
      ledger.account,
      ledger.file,
      { fleet: fleet.counts(), statusSeen: fleet.desk?.statusSeen ?? null, workers },
    )
  }

  async #patiently(signal: AbortSignal, done: () => boolean | Promise<boolean>, progress: () => number): Promise<void> {
    let last = progress()
    let lastAt = performance.now()
    while (!signal.aborted && !(await done())) {
      await pause(pollMs, signal)
      const current = progress()
      if (current !== last) {
        last = current
        lastAt = performance.now()
      } else if (performance.now() - lastAt > this.options.patienceMs) return
    }
  }
}
