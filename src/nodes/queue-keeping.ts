import { RuleBook } from '../bridge/rule-book.ts'
import type { Cluster } from '../cluster.ts'
import type { Core } from '../connection/core.ts'
import { SluiceError } from '../errors.ts'
import type { MemberQueue } from '../queue/member-queue.ts'
import type { Queues } from '../queue/queues.ts'
import type { Heartbeat, WorkerCommand } from '../queue/workers.ts'
import { type Destination, NodeInterest } from '../router/destinations.ts'
import { TopicTree } from '../router/topic-tree.ts'
import type { Store } from '../store.ts'
import type { Drops } from '../telemetry/drops.ts'
import { Inbox } from './inbox.ts'
import { InboxReader, type InboxReaderContext } from './inbox-reader.ts'
import type { Nodes } from './nodes.ts'
import { answerQueueQuestion, askHeard, QUEUE_QUESTION, RemoteQueue } from './remote-queue.ts'

export interface QueueKeepingContext extends Omit<InboxReaderContext, 'tree'> {
  readonly store: Store
  readonly cluster: Cluster
  readonly queues: Queues
  readonly rules: RuleBook
  /** Told when this node keeps the queues. */
  kept(): void
}

/**
 * The work queues where nodes share a store: the node that leads keeps them, with everything a single node does. As soon as
 * there are two nodes, messages for queues go through the inbox, and the others ask the keeper on behalf of their workers.
 */
export class QueueKeeping {
  readonly #c: QueueKeepingContext
  /** Where the rules lead, for what comes out of the inbox. */
  readonly #tree = new TopicTree<Destination>()
  readonly #reader: InboxReader
  readonly #inbox: Inbox
  #keeps = false
  #serves = false
  #shared = false

  constructor(context: QueueKeepingContext) {
    this.#c = context
    this.#inbox = new Inbox(context.store, context.commits)
    this.#reader = new InboxReader({ ...context, tree: this.#tree })
  }

  get keeps(): boolean {
    return this.#keeps
  }

  /** It keeps the queues, and has read them. */
  get serves(): boolean {
    return this.#serves
  }

  /** Serves queues from now on, here or through the keeper. */
  async start(): Promise<void> {
    const { cluster, rules } = this.#c
    if (cluster.leads) await this.keep()
    if (cluster.leads && cluster.others.size === 0) rules.linkTo(null, null)
    else this.share()
  }

  /** There are other nodes: from now on messages for queues stand in one line with theirs. */
  share(): void {
    if (this.#shared) return
    this.#shared = true
    this.#link()
  }

  /** This node leads: it keeps the queues from now on. */
  async keep(): Promise<void> {
    if (this.#keeps) return
    this.#keeps = true
    await this.#c.queues.open()
    this.#c.queues.control.measure()
    this.#link()
    this.#serves = true
    this.#c.kept()
    await this.#reader.open()
  }

  #link(): void {
    const inbox = (rule: { deduplicatesRetransmissions: boolean }): NodeInterest =>
      new NodeInterest(this.#inbox, true, rule.deduplicatesRetransmissions)
    this.#c.rules.linkTo(inbox, this.#keeps ? this.#tree : null)
  }

  stop(): void {
    this.#reader.close()
  }

  /** The queue as workers on this node reach it; undefined: there is none of this name. */
  find(name: string): MemberQueue | undefined {
    return this.#keeps ? this.#c.queues.find(name) : new RemoteQueue(name, this.#c.cluster)
  }

  /** A worker's heartbeat, for the node that keeps the queues. Rejects when there is none. */
  async heard(id: string, heartbeat: Heartbeat): Promise<WorkerCommand> {
    return this.#keeps ? this.#c.queues.workers.heard(id, heartbeat) : askHeard(this.#c.cluster, id, heartbeat)
  }
}

export interface KeepQueuesParts {
  readonly core: Core
  readonly nodes: Nodes
  readonly queues: Queues
  readonly rules: RuleBook
  readonly drops: Drops
  kept(): void
}

/** Ties the queues to the node's standing among the others: who leads keeps them, and a leader that no longer leads ends. */
export function keepQueues({ core, nodes, queues, rules, drops, kept }: KeepQueuesParts): QueueKeeping {
  const { store, clock, commits, counters, events } = core
  const keeping = new QueueKeeping({
    store,
    clock,
    commits,
    counters,
    queues,
    rules,
    kept,
    cluster: nodes.cluster,
    dropped: (session, cause, count) => drops.count(session, cause, count),
    failed: (error) => events.emit('internalError', { where: 'the inbox of the queues', error }),
  })
  nodes.onAsked = (kind, body) =>
    kind === QUEUE_QUESTION && keeping.serves
      ? answerQueueQuestion(queues, body)
      : Promise.reject(new SluiceError('node_gone', 'this node does not keep the queues'))
  nodes.onJoined = () => keeping.share()
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
