import { RuleBook } from '../bridge/rule-book.ts'
import type { Cluster } from '../cluster.ts'
import type { Core } from '../connection/core.ts'
import { SluiceError } from '../errors.ts'
import type { MemberQueue } from '../queue/member-queue.ts'
import type { Queues } from '../queue/queues.ts'
import { NodeInterest } from '../router/destinations.ts'
import type { Store } from '../store.ts'
import type { Drops } from '../telemetry/drops.ts'
import { Inbox, InboxReader, type InboxReaderContext } from './inbox.ts'
import type { Nodes } from './nodes.ts'
import { answerQueueQuestion, QUEUE_QUESTION, RemoteQueue } from './remote-queue.ts'

export interface QueueKeepingContext extends InboxReaderContext {
  readonly store: Store
  readonly cluster: Cluster
  readonly queues: Queues
  readonly rules: RuleBook
}

/**
 * The work queues where there are several nodes: the node that leads keeps them, with everything a single node does. The
 * others put messages for them into the inbox and ask the keeper on behalf of their workers.
 */
export class QueueKeeping {
  readonly #c: QueueKeepingContext
  readonly #reader: InboxReader
  readonly #inbox: Inbox
  #keeps = false

  constructor(context: QueueKeepingContext) {
    this.#c = context
    this.#inbox = new Inbox(context.store, context.commits)
    this.#reader = new InboxReader(context)
  }

  get keeps(): boolean {
    return this.#keeps
  }

  /** Serves queues from now on, here or through the keeper. */
  async start(): Promise<void> {
    if (this.#c.cluster.leads) await this.keep()
    else this.#c.rules.linkTo(() => new NodeInterest(this.#inbox, true))
  }

  /** This node leads: it keeps the queues from now on. */
  async keep(): Promise<void> {
    if (this.#keeps) return
    this.#keeps = true
    await this.#c.queues.open()
    this.#c.queues.control.measure()
    this.#c.rules.linkTo(null)
    await this.#reader.open()
  }

  stop(): void {
    this.#reader.close()
  }

  /** The queue as workers on this node reach it; undefined: there is none of this name. */
  find(name: string): MemberQueue | undefined {
    return this.#keeps ? this.#c.queues.find(name) : new RemoteQueue(name, this.#c.cluster)
  }
}

export interface KeepQueuesParts {
  readonly core: Core
  readonly nodes: Nodes
  readonly queues: Queues
  readonly rules: RuleBook
  readonly drops: Drops
}

/** Ties the queues to the node's standing among the others: who leads keeps them, and a leader that no longer leads ends. */
export function keepQueues({ core, nodes, queues, rules, drops }: KeepQueuesParts): QueueKeeping {
  const { store, clock, commits, counters, router, events } = core
  const keeping = new QueueKeeping({
    store,
    clock,
    commits,
    counters,
    router,
    queues,
    rules,
    cluster: nodes.cluster,
    dropped: (session, cause, count) => drops.count(session, cause, count),
    failed: (error) => events.emit('internalError', { where: 'the inbox of the queues', error }),
  })
  nodes.onAsked = (kind, body) =>
    kind === QUEUE_QUESTION && keeping.keeps
      ? answerQueueQuestion(queues, body)
      : Promise.reject(new SluiceError('node_gone', 'this node does not keep the queues'))
  nodes.onMeta = (key) => {
    const name = RuleBook.ruleOfKey(key)
    if (name !== null) rules.changed(name)
  }
  nodes.onLeading = (leads) => {
    // What this node has in memory of the queues is another's to change from now on.
    if (!leads) nodes.fenced()
    else keeping.keep().catch((error: unknown) => events.emit('internalError', { where: 'keeping the queues', error }))
  }
  return keeping
}
