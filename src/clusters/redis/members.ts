import { machineName, processName, runsHere } from '../../base/machine.ts'
import type { NodeFacts } from '../../cluster.ts'
import { SluiceError } from '../../errors.ts'
import type { RedisClusterOptions } from '../redis.ts'
import * as scripts from './scripts.ts'

/** Raised with every change of what nodes tell each other or keep in common. */
const PROTOCOL = 2

/** Heartbeats in the time after which a silent node is dead. */
const BEATS = 5
/** Heartbeats without a leader after which another takes the lead. */
const LEADERLESS_BEATS = 2

export interface MembersListener {
  joined(node: NodeFacts): void
  gone(nodeId: string): void
  leading(leads: boolean): void
  fenced(): void
  /** Makes another node look at the members at once. */
  tell(nodeId: string): void
}

/**
 * Who is there. Every node writes a heartbeat with a time to live; the node that leads declares those without one dead
 * by taking their incarnation from them, after which nothing they write counts. Because all heartbeats stop together when Redis is away,
 * a leader counts a node's silence only from its own uninterrupted hearing: one that just came back reaps nobody.
 */
export class Members {
  readonly #o: RedisClusterOptions
  readonly #listener: MembersListener
  readonly #others = new Map<string, NodeFacts>()
  /** Monotonic ms since which a member has had no heartbeat. */
  readonly #silentSince = new Map<string, number>()
  #facts: NodeFacts
  #leads = false
  #leader: string | null = null
  /** Heartbeats in a row at which nobody led. */
  #leaderless = 0
  #cancel: (() => void) | null = null
  #left = false
  #beating: Promise<void> | null = null

  constructor(options: RedisClusterOptions, listener: MembersListener) {
    this.#o = options
    this.#listener = listener
    const { nodeId, version, clock } = options
    const own = { protocol: PROTOCOL, machine: machineName(), process: processName }
    this.#facts = { nodeId, version, ...own, startedAt: clock.now(), incarnation: 0, address: '', draining: false }
  }

  get incarnation(): number {
    return this.#facts.incarnation
  }
  get leads(): boolean {
    return this.#leads
  }
  get leader(): string | null {
    return this.#leader
  }
  get others(): ReadonlyMap<string, NodeFacts> {
    return this.#others
  }

  async join(): Promise<void> {
    const { redis, nodeId, nodeTimeoutMs } = this.#o
    const keys = [this.#key('nodes'), this.#key('incarnations'), this.#key(`alive:${nodeId}`), this.#key('joins')]
    this.#left = false
    try {
      await this.#meet()
      const incarnation = Number(await redis.eval(scripts.join, 4, ...keys, nodeId, '{}', nodeTimeoutMs))
      this.#facts = { ...this.#facts, incarnation }
      await this.#write()
      await this.#beat()
    } catch (error) {
      if (error instanceof SluiceError) throw error
      throw new SluiceError('store_unavailable', 'Redis does not answer', { cause: error })
    }
    for (const other of this.#others.keys()) this.#listener.tell(other)
    this.#schedule()
  }

  /**
   * Looks at who is there before joining. Of this machine's nodes those whose process is gone are taken out at once: after a
   * crash and a restart nobody waits for their time to be over.
   */
  async #meet(): Promise<void> {
    for (const [nodeId, json] of Object.entries(await this.#o.redis.hgetall(this.#key('nodes')))) {
      const { incarnation, protocol, version, machine, process } = factsOf(json, nodeId)
      if (incarnation === 0) continue
      if (machine === this.#facts.machine && !runsHere(process)) await this.#remove(nodeId, incarnation, 'leave')
      else if (protocol !== PROTOCOL)
        throw new SluiceError(
          'node_version',
          `node ${nodeId} (version ${version}) speaks protocol ${protocol}, this one (${this.#facts.version}) ${PROTOCOL}`,
        )
    }
  }

  async announce(facts: Partial<NodeFacts>): Promise<void> {
    this.#facts = { ...this.#facts, ...facts }
    if (this.#facts.incarnation === 0) return
    await this.#write().catch((error: unknown) => {
      throw new SluiceError('store_unavailable', 'Redis does not answer', { cause: error })
    })
    for (const other of this.#others.keys()) this.#listener.tell(other)
  }

  async leave(): Promise<void> {
    this.#left = true
    this.#cancel?.()
    await this.#beating
    if (this.#facts.incarnation === 0) return
    await this.#remove(this.#facts.nodeId, this.#facts.incarnation, 'leave').catch((error: unknown) =>
      this.#o.onError('leave', error),
    )
    for (const other of this.#others.keys()) this.#listener.tell(other)
    this.#leads = false
  }

  /** Looks at the members now. */
  look(): void {
    if (this.#left || this.#facts.incarnation === 0) return
    this.#cancel?.()
    void this.#beatSafely().then(() => this.#schedule())
  }

  #schedule(): void {
    if (this.#left) return
    this.#cancel?.()
    this.#cancel = this.#o.clock.after(this.#o.nodeTimeoutMs / BEATS, () => {
      void this.#beatSafely().then(() => this.#schedule())
    })
  }

  #beatSafely(): Promise<void> {
    this.#beating ??= this.#beat()
      .catch((error: unknown) => {
        // Nobody's silence counts while we hear nothing ourselves.
        this.#silentSince.clear()
        this.#leaderless = 0
        this.#o.onError('heartbeat', error)
      })
      .finally(() => {
        this.#beating = null
      })
    return this.#beating
  }

  async #beat(): Promise<void> {
    const { redis, nodeId, nodeTimeoutMs } = this.#o
    const keys = ['incarnations', `alive:${nodeId}`, 'leader', 'led', 'nodes'].map((name) => this.#key(name))
    // Who led before is given the time to say so again: all fall silent together when Redis is away.
    const mayLead = this.#leaderless >= LEADERLESS_BEATS ? 1 : 0
    const leader = String(
      await redis.eval(scripts.beat, 5, ...keys, nodeId, this.incarnation, nodeTimeoutMs, mayLead, this.#o.prefix),
    )
    this.#o.onHeard()
    if (this.#left) return
    this.#leaderless = leader === '' ? this.#leaderless + 1 : 0
    if (leader === '-1') {
      this.#fenced()
      return
    }
    const all = await redis.hgetall(this.#key('nodes'))
    if (this.#left) return
    this.#compare(all)
    this.#leader = leader === '' ? null : leader.slice(0, leader.lastIndexOf(' '))
    this.#lead(leader === `${nodeId} ${this.incarnation}`)
    if (this.#leads) await this.#reap()
  }

  #compare(all: Record<string, string>): void {
    for (const [nodeId, known] of this.#others) {
      if (all[nodeId] !== undefined && factsOf(all[nodeId], nodeId).incarnation === known.incarnation) continue
      this.#others.delete(nodeId)
      this.#silentSince.delete(nodeId)
      this.#listener.gone(nodeId)
    }
    for (const [nodeId, json] of Object.entries(all)) {
      if (nodeId === this.#o.nodeId) continue
      const facts = factsOf(json, nodeId)
      // Between joining and telling its facts.
      if (facts.incarnation === 0) continue
      const known = this.#others.get(nodeId)
      if (known !== undefined && JSON.stringify(known) === JSON.stringify(facts)) continue
      this.#others.set(nodeId, facts)
      this.#listener.joined(facts)
    }
  }

  async #reap(): Promise<void> {
    const { redis, clock, nodeTimeoutMs } = this.#o
    for (const [nodeId, { incarnation }] of [...this.#others]) {
      if ((await redis.exists(this.#key(`alive:${nodeId}`))) === 1) {
        this.#silentSince.delete(nodeId)
        continue
      }
      const since = this.#silentSince.get(nodeId)
      if (since === undefined) this.#silentSince.set(nodeId, clock.monotonic())
      // The heartbeat itself lives for the whole time already; this much more is for our own hearing.
      else if (clock.monotonic() - since >= nodeTimeoutMs / BEATS) {
        if (!(await this.#remove(nodeId, incarnation, 'reap'))) continue
        this.#others.delete(nodeId)
        this.#silentSince.delete(nodeId)
        this.#listener.gone(nodeId)
        for (const other of this.#others.keys()) this.#listener.tell(other)
      }
    }
  }

  async #remove(nodeId: string, incarnation: number, how: 'leave' | 'reap'): Promise<boolean> {
    const keys = ['nodes', 'incarnations', `alive:${nodeId}`, 'leader', 'led', `passed:${nodeId}`].map((name) =>
      this.#key(name),
    )
    return Number(await this.#o.redis.eval(scripts.remove, 6, ...keys, nodeId, incarnation, how)) === 1
  }

  async #write(): Promise<void> {
    const keys = [this.#key('nodes'), this.#key('incarnations')]
    const json = JSON.stringify(this.#facts)
    const { nodeId, incarnation } = this.#facts
    if (Number(await this.#o.redis.eval(scripts.announce, 2, ...keys, nodeId, incarnation, json)) === 0) this.#fenced()
  }

  #fenced(): void {
    this.#left = true
    this.#cancel?.()
    this.#leads = false
    this.#listener.fenced()
  }

  #lead(leads: boolean): void {
    if (leads === this.#leads) return
    this.#leads = leads
    this.#listener.leading(leads)
  }

  #key(name: string): string {
    return this.#o.prefix + name
  }
}

function factsOf(json: string, nodeId: string): NodeFacts {
  const facts = JSON.parse(json) as Partial<NodeFacts>
  return {
    nodeId,
    incarnation: facts.incarnation ?? 0,
    version: facts.version ?? '',
    protocol: facts.protocol ?? 0,
    machine: facts.machine ?? '',
    process: facts.process ?? '',
    startedAt: facts.startedAt ?? 0,
    address: facts.address ?? '',
    draining: facts.draining ?? false,
  }
}
