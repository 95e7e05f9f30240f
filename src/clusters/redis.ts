import type { Clock } from '../base/clock.ts'
import type { Cluster, ClusterListener, NodeFacts } from '../cluster.ts'
import { SluiceError } from '../errors.ts'
import { DeadOwners } from './redis/dead-owners.ts'
import type { Fabric, FabricMessage } from './redis/fabric.ts'
import { Inflow, Outflow } from './redis/flow.ts'
import { Members } from './redis/members.ts'
import { Owners } from './redis/owners.ts'
import { Questions } from './redis/questions.ts'

/** The commands that are needed of a Redis connection. */
export interface RedisCommands {
  eval(script: string, keyCount: number, ...rest: (string | number | Buffer)[]): Promise<unknown>
  hgetall(key: string): Promise<Record<string, string>>
  hget(key: string, field: string): Promise<string | null>
  get(key: string): Promise<string | null>
  exists(key: string): Promise<number>
  smembers(key: string): Promise<string[]>
  srem(key: string, ...members: string[]): Promise<number>
}

export interface RedisClusterOptions {
  readonly nodeId: string
  readonly version: string
  readonly clock: Clock
  readonly redis: RedisCommands
  /** Resolves when Redis answers. Rejects when it does not for too long. */
  ready(): Promise<void>
  readonly fabric: Fabric
  /** In front of every key, e.g. `sluicemq:`. */
  readonly prefix: string
  /** A node that was not heard of for this long is declared dead. */
  readonly nodeTimeoutMs: number
  /** How long a client waits for another node to surrender its identifier before it is taken. */
  readonly surrenderTimeoutMs: number
  /** How long a client that connects waits for Redis to come back. */
  readonly patienceMs: number
  /** Bytes of live messages to one node that it has not taken yet; beyond, they are not sent. */
  readonly unsentBytesMax: number
  /** Lets go of the connections. */
  close(): void
  onError(where: string, error: unknown): void
  /** Redis has answered. */
  onHeard(): void
}

/**
 * Nodes that share a Redis. Who is there and who serves which Client Identifier is written by small scripts
 * (`redis/scripts.ts`), each one step; live messages and questions travel over one channel for each node.
 */
export class RedisCluster implements Cluster {
  readonly kind = 'redis'
  readonly #options: RedisClusterOptions
  readonly #questions: Questions
  readonly #members: Members
  readonly #owners: Owners
  readonly #deadOwners: DeadOwners
  readonly #outflows = new Map<string, Outflow>()
  readonly #inflows = new Map<string, Inflow>()
  #listener: ClusterListener | null = null

  constructor(options: RedisClusterOptions) {
    this.#options = options
    this.#questions = new Questions(options.clock, Math.max(options.nodeTimeoutMs, options.surrenderTimeoutMs) * 2)
    this.#owners = new Owners(
      options,
      () => this.incarnation,
      (nodeId) => this.others.has(nodeId),
    )
    this.#deadOwners = new DeadOwners(options)
    this.#members = new Members(options, {
      joined: (node) => this.#listener?.joined(node),
      gone: (nodeId) => {
        this.#outflows.delete(nodeId)
        this.#inflows.delete(nodeId)
        this.#questions.gone(nodeId)
        if (this.leads) this.#deadOwners.sweep()
        this.#listener?.gone(nodeId)
      },
      leading: (leads) => {
        if (leads) this.#deadOwners.sweep()
        this.#listener?.leading(leads)
      },
      fenced: () => this.#listener?.fenced(),
      tell: (nodeId) => this.#post(nodeId, { is: 'news', from: this.nodeId }),
    })
  }

  get nodeId(): string {
    return this.#options.nodeId
  }

  /** The incarnation this node writes as; 0 before it joined. */
  get incarnation(): number {
    return this.#members.incarnation
  }

  get leads(): boolean {
    return this.#members.leads
  }

  get leader(): string | null {
    return this.#members.leader
  }

  get others(): ReadonlyMap<string, NodeFacts> {
    return this.#members.others
  }

  async join(listener: ClusterListener): Promise<void> {
    this.#listener = listener
    try {
      await this.#options.ready()
    } catch (error) {
      throw new SluiceError('store_unavailable', (error as Error).message, { cause: error })
    }
    await this.#options.fabric.listen(channelOf(this.#options.prefix, this.nodeId), (message) => this.#heard(message))
    await this.#members.join()
  }

  async leave(): Promise<void> {
    this.#questions.close()
    this.#deadOwners.close()
    await this.#members.leave()
    await this.#options.fabric.close()
    this.#options.close()
  }

  announce(facts: Partial<Pick<NodeFacts, 'address' | 'draining'>>): Promise<void> {
    return this.#members.announce(facts)
  }

  claim(clientId: string, user: string | null): Promise<void> {
    return this.#owners.claim(clientId, (nodeId) => this.request(nodeId, SURRENDER, { clientId, user }))
  }

  ownerOf(clientId: string): Promise<string | null> {
    return this.#owners.ownerOf(clientId)
  }

  claimVacant(clientId: string): Promise<boolean> {
    return this.#owners.claimVacant(clientId)
  }

  release(clientId: string): void {
    this.#owners.release(clientId).catch((error: unknown) => this.#options.onError('release', error))
  }

  passedOver(): Promise<string[]> {
    return this.#owners.passedOver()
  }

  concede(clientIds: readonly string[]): Promise<void> {
    return this.#owners.concede(clientIds)
  }

  send(nodeId: string, frames: Buffer): boolean {
    if (!this.others.has(nodeId)) return false
    let flow = this.#outflows.get(nodeId)
    if (flow === undefined) {
      flow = new Outflow()
      this.#outflows.set(nodeId, flow)
    }
    const full = flow.untaken > this.#options.unsentBytesMax
    if (full && !flow.asks(this.#options.clock.monotonic())) return false
    const at = full ? flow.at : flow.send(frames.length)
    const message = { is: 'messages', from: this.nodeId, frames: full ? NOTHING : frames, at } as const
    this.#post(nodeId, message, (error) => {
      if (error) this.#took(nodeId, at)
    })
    return !full
  }

  untaken(nodeId: string): number {
    return this.#outflows.get(nodeId)?.untaken ?? 0
  }

  #took(nodeId: string, at: number): void {
    this.#outflows.get(nodeId)?.took(at)
    this.#listener?.taken(nodeId)
  }

  /** Messages were handed on: tells the sender now and then. */
  #tellTaken(nodeId: string, at: number, asked: boolean): void {
    let flow = this.#inflows.get(nodeId)
    if (flow === undefined) {
      flow = new Inflow()
      this.#inflows.set(nodeId, flow)
    }
    if (flow.took(at, asked)) this.#post(nodeId, { is: 'taken', from: this.nodeId, at })
  }

  request(nodeId: string, kind: string, body: unknown): Promise<unknown> {
    if (!this.others.has(nodeId)) return Promise.reject(new SluiceError('node_gone', `node ${nodeId} is gone`))
    return this.#questions.ask(nodeId, (id) =>
      this.#post(nodeId, { is: 'question', from: this.nodeId, id, kind, body }, (error) => {
        if (error) this.#questions.failed(id, new SluiceError('node_gone', `cannot reach ${nodeId}`, { cause: error }))
      }),
    )
  }

  #heard(message: FabricMessage): void {
    const listener = this.#listener
    if (listener === null) return
    switch (message.is) {
      case 'messages':
        listener.messages(message.from, message.frames)
        this.#tellTaken(message.from, message.at, message.frames.length === 0)
        break
      case 'taken':
        this.#took(message.from, message.at)
        break
      case 'question':
        void this.#answer(listener, message)
        break
      case 'answer':
        this.#questions.answered(message.id, message.body)
        break
      case 'refusal':
        this.#questions.refused(message.id, message.code, message.text)
        break
      case 'news':
        this.#members.look()
    }
  }

  async #answer(listener: ClusterListener, question: FabricMessage & { is: 'question' }): Promise<void> {
    const { from, id, kind, body } = question
    try {
      const answer = await (kind === SURRENDER
        ? this.#surrender(listener, body as Claimed)
        : listener.asked(from, kind, body))
      this.#post(from, { is: 'answer', from: this.nodeId, id, body: answer ?? null })
    } catch (error) {
      const code = error instanceof SluiceError ? error.code : 'invariant'
      this.#post(from, { is: 'refusal', from: this.nodeId, id, code, text: String((error as Error).message ?? error) })
    }
  }

  async #surrender(listener: ClusterListener, { clientId, user }: Claimed): Promise<void> {
    await listener.surrender(clientId, user)
    await this.#owners.release(clientId)
  }

  #post(nodeId: string, message: FabricMessage, sent: (error: unknown) => void = () => {}): void {
    this.#options.fabric.send(channelOf(this.#options.prefix, nodeId), message, sent)
  }
}

const SURRENDER = 'surrender'
const NOTHING = Buffer.alloc(0)

/** What is asked by it. */
interface Claimed {
  readonly clientId: string
  readonly user: string | null
}

function channelOf(prefix: string, nodeId: string): string {
  return `${prefix}node/${nodeId}`
}
