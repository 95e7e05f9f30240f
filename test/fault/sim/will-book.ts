/** The reference model for wills: each connection has one of its own, and each is published once or not at all. */
import type { PublishPacket } from '../../support/raw-packets.ts'
import type { LabClient } from '../lab/client.ts'
import type { Trace } from './trace.ts'

/** How long a commit that nobody waits for may take, in ms: slow disks, refusals and what is tried again included. */
const UNCONFIRMED_MS = 3000

interface Will {
  readonly id: string
  readonly client: string
  readonly delaySeconds: number
  /** `may`: both are right. */
  fate: 'may' | 'armed' | 'must' | 'must not'
  /** Crashes of the broker when the client said DISCONNECT. */
  saidAfterCrashes: number
  goneAtMs: number
}

export class WillBook {
  readonly #trace: Trace
  readonly #crashes: () => number
  readonly #nowMs: () => number
  readonly #wills = new Map<string, Will>()
  readonly #current = new Map<LabClient, Will>()
  readonly #arrivals = new Map<string, Map<string, number>>()
  /** The store refuses: the broker may have closed a connection before it read the DISCONNECT. */
  refusing = false
  #ids = 0

  constructor(trace: Trace, crashes: () => number, nowMs: () => number) {
    this.#trace = trace
    this.#crashes = crashes
    this.#nowMs = nowMs
  }

  /** The will of the next connection. */
  make(client: LabClient, topic: string, delaySeconds: number): void {
    const { clientId, version } = client.options
    const id = `w${++this.#ids}`
    const will: Will = { id, client: clientId, delaySeconds, fate: 'may', saidAfterCrashes: -1, goneAtMs: 0 }
    this.#wills.set(id, will)
    const before = this.#current.get(client)
    // The client comes back before the delay of its last will may be over.
    if (before !== undefined && before.delaySeconds > 0 && before.fate === 'must') before.fate = 'may'
    this.#current.set(client, will)
    const properties = version === 5 && delaySeconds > 0 ? { properties: { willDelayInterval: delaySeconds } } : {}
    client.options.will = { topic, payload: id, qos: 2, retain: false, ...properties }
  }

  connecting(client: LabClient): void {
    const will = this.#current.get(client)
    if (will !== undefined) this.#trace.note(`${client.options.clientId} has the will ${will.id}`, will.id)
  }
  connected(client: LabClient): void {
    const will = this.#current.get(client)
    if (will === undefined) return
    will.fate = 'armed'
    this.#trace.note(`${will.id} is armed`, will.id)
  }
  /** The client is about to say DISCONNECT. */
  leaving(client: LabClient): void {
    const will = this.#current.get(client)
    if (will !== undefined) will.saidAfterCrashes = this.#crashes()
  }
  gone(client: LabClient, said: boolean): void {
    const will = this.#current.get(client)
    if (will === undefined || will.fate !== 'armed') return
    will.goneAtMs = this.#nowMs()
    if (!said) will.fate = 'must'
    else will.fate = this.refusing || will.saidAfterCrashes !== this.#crashes() ? 'may' : 'must not'
    this.#trace.note(`${will.id} ${will.fate} be published`, will.id)
  }

  /** DISCONNECT has no answer: what it says may be on its way to the disk when the broker dies. */
  crashed(): void {
    for (const will of this.#wills.values())
      if (will.fate === 'must not' && this.#nowMs() - will.goneAtMs <= UNCONFIRMED_MS) will.fate = 'may'
  }

  /** True when the packet was a will. */
  received(client: LabClient, packet: PublishPacket): boolean {
    const id = packet.payload.toString()
    if (!this.#wills.has(id)) return false
    const { clientId } = client.options
    const mine = this.#arrivals.get(clientId) ?? new Map<string, number>()
    this.#arrivals.set(clientId, mine)
    mine.set(id, (mine.get(id) ?? 0) + 1)
    return true
  }

  /** Wills that the watcher has still to get. */
  outstanding(watcher: LabClient): string[] {
    const got = this.#arrivals.get(watcher.options.clientId)
    return [...this.#wills.values()].filter(({ id, fate }) => fate === 'must' && !got?.has(id)).map(({ id }) => id)
  }

  account(watcher: LabClient): void {
    const got = this.#arrivals.get(watcher.options.clientId)
    for (const { id, client, fate } of this.#wills.values()) {
      const times = got?.get(id) ?? 0
      if (times > 1) this.#trace.violation(`the will ${id} of ${client} was published ${times} times`, id)
      if (times === 0 && fate === 'must') this.#trace.violation(`the will ${id} of ${client} was not published`, id)
      if (times > 0 && fate === 'must not') this.#trace.violation(`the will ${id} of ${client} was published`, id)
    }
  }

  get size(): number {
    return this.#wills.size
  }
}
