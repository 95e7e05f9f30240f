import type { Clock } from '../base/clock.ts'
import type { Cluster } from '../cluster.ts'
import { SluiceError } from '../errors.ts'
import { askWhetherKept } from './remote-queue.ts'

/** How often it is looked whether a node keeps the queues while none is known, in ms. */
const LOOK_MS = 100
/** And after the time was over. */
const LOOK_LATER_MS = 1000

export interface KeeperWatchContext {
  readonly cluster: Pick<Cluster, 'leader' | 'request'>
  readonly clock: Clock
  /** Base URL of the node that leads; null: this one does; undefined: nobody known does. */
  leaderAddress(): string | null | undefined
  /** This node keeps the queues, and has read them. */
  serves(): boolean
  /** How long `settled` waits at most, in ms. */
  readonly patienceMs: number
}

/**
 * Whether requests about work queues can be answered, which take a node that keeps them: this one or another. A node that just
 * started waits for it, so that who was told that it is ready need not try again.
 *
 *     looking ──one answers──▶ found
 *        └──patience is over──▶ late ──one answers──▶ found
 *
 * Once found, who leads is known by the heartbeats: while nobody does, the node serves everything but queues.
 */
export class KeeperWatch {
  readonly #c: KeeperWatchContext
  readonly #until: number
  #state: 'looking' | 'late' | 'found' = 'looking'
  /** The node that was asked and has not answered. */
  #asked: string | null = null
  #cancel: (() => void) | null = null
  #settle: () => void = () => {}
  /** Resolves when requests about queues can be answered, or it took too long. */
  readonly settled: Promise<void>

  constructor(context: KeeperWatchContext) {
    this.#c = context
    this.#until = context.clock.monotonic() + context.patienceMs
    this.settled = new Promise((resolve) => {
      this.#settle = resolve
    })
  }

  get looking(): boolean {
    return this.#state === 'looking'
  }

  /** Base URL of the node that keeps the queues; null: this one does; undefined: nobody known does. */
  get address(): string | null | undefined {
    const address = this.#c.leaderAddress()
    return address === null && !this.#c.serves() ? undefined : address
  }

  /** Why requests about queues are not answered; null: they are, as far as is known. */
  get trouble(): string | null {
    const known = this.#state === 'found' && this.address !== undefined
    return known ? null : 'no node is known to keep the work queues; everything else is served'
  }

  start(): void {
    this.#look()
  }

  stop(): void {
    this.#cancel?.()
    this.#settle()
  }

  #look(): void {
    const { cluster, clock } = this.#c
    const { address } = this
    if (address === null) return this.#found()
    if (address !== undefined && cluster.leader !== null) this.#ask(cluster.leader)
    if (this.#state === 'looking' && clock.monotonic() >= this.#until) {
      this.#state = 'late'
      this.#settle()
    }
    this.#cancel = clock.after(this.#state === 'looking' ? LOOK_MS : LOOK_LATER_MS, () => this.#look())
  }

  /** One that died may still pass for the leader, and one that leads from now on may not have read its queues. */
  #ask(nodeId: string): void {
    if (this.#asked === nodeId) return
    this.#asked = nodeId
    askWhetherKept(this.#c.cluster, nodeId).then(
      () => this.#answered(nodeId),
      (error: unknown) => {
        // An older one does not know the question, and answers all the same.
        if (!(error instanceof SluiceError && error.code === 'node_gone')) this.#answered(nodeId)
        else if (this.#asked === nodeId) this.#asked = null
      },
    )
  }

  #answered(nodeId: string): void {
    if (this.#asked === nodeId) this.#found()
  }

  #found(): void {
    this.#state = 'found'
    this.#cancel?.()
    this.#settle()
  }
}
