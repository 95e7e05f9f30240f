import type { Cluster } from '../cluster.ts'
import { SluiceError } from '../errors.ts'
import type { HandedOut, MemberQueue } from '../queue/member-queue.ts'
import type { Queues } from '../queue/queues.ts'
import type { ExtendEntry, ExtendResult, NackEntry, Result } from '../queue/requests.ts'
import type { Heartbeat, WorkerCommand } from '../queue/workers.ts'

/** A pull waits no longer than this on another node, in ms: the question has to be answered in time. */
const WAIT_MS_MAX = 5000
/** Messages of one answer. */
const PULLED_MAX = 200

type Call =
  | {
      readonly do: 'pull'
      readonly queue: string
      readonly max: number
      readonly leaseMs: number
      readonly waitMs: number
    }
  | { readonly do: 'ack'; readonly queue: string; readonly receipts: readonly string[] }
  | { readonly do: 'nack'; readonly queue: string; readonly entries: readonly NackEntry[] }
  | { readonly do: 'heard'; readonly id: string; readonly heartbeat: Heartbeat }
  | { readonly do: 'extend'; readonly queue: string; readonly entries: readonly ExtendEntry[] }
  /** Whether the node keeps the queues: that it answers says so. */
  | { readonly do: 'look' }

/** The question under which nodes ask the one that keeps the queues. */
export const QUEUE_QUESTION = 'queue'

/** A work queue that another node keeps. */
export class RemoteQueue implements MemberQueue {
  readonly name: string
  readonly #cluster: Cluster

  constructor(name: string, cluster: Cluster) {
    this.name = name
    this.#cluster = cluster
  }

  async pull(max: number, leaseMs: number, waitMs: number, signal: AbortSignal): Promise<HandedOut[]> {
    const wait = Math.min(waitMs, WAIT_MS_MAX)
    const call: Call = { do: 'pull', queue: this.name, max: Math.min(max, PULLED_MAX), leaseMs, waitMs: wait }
    const pulled = (await this.#ask(call)) as HandedOut[]
    if (!signal.aborted || pulled.length === 0) return pulled
    this.release(pulled)
    return []
  }

  ack(receipts: readonly string[]): Promise<Result[]> {
    return this.#ask({ do: 'ack', queue: this.name, receipts }) as Promise<Result[]>
  }

  nack(entries: readonly NackEntry[]): Promise<Result[]> {
    return this.#ask({ do: 'nack', queue: this.name, entries }) as Promise<Result[]>
  }

  extend(entries: readonly ExtendEntry[]): Promise<ExtendResult[]> {
    return this.#ask({ do: 'extend', queue: this.name, entries }) as Promise<ExtendResult[]>
  }

  release(deliveries: readonly HandedOut[]): void {
    // Where this does not get through, the leases run out.
    this.nack(deliveries.map(({ receipt }) => ({ receipt, release: true }))).catch(() => {})
  }

  #ask(call: Call): Promise<unknown> {
    return askKeeper(this.#cluster, call)
  }
}

/** Resolves when that node keeps the queues. Rejects with `node_gone` when it does not, or does not answer. */
export async function askWhetherKept(cluster: Pick<Cluster, 'request'>, nodeId: string): Promise<void> {
  const call: Call = { do: 'look' }
  await cluster.request(nodeId, QUEUE_QUESTION, call)
}

/** A worker's heartbeat, told to the node that keeps the queues; resolves with what the worker is to do. */
export async function askHeard(cluster: Cluster, id: string, heartbeat: Heartbeat): Promise<WorkerCommand> {
  return (await askKeeper(cluster, { do: 'heard', id, heartbeat })) as WorkerCommand
}

function askKeeper(cluster: Cluster, call: Call): Promise<unknown> {
  const { leader } = cluster
  if (leader === null || leader === cluster.nodeId)
    return Promise.reject(new SluiceError('node_gone', 'no node keeps the queues at the moment'))
  return cluster.request(leader, QUEUE_QUESTION, call)
}

/** Answers other nodes, on the one that keeps the queues. */
export async function answerQueueQuestion(queues: Queues, body: unknown): Promise<unknown> {
  const call = body as Call
  if (call.do === 'look') return true
  if (call.do === 'heard') return queues.workers.heard(call.id, call.heartbeat)
  const queue = queues.get(call.queue)
  switch (call.do) {
    case 'pull': {
      const pulled = await queue.pull(call.max, call.leaseMs, call.waitMs)
      return pulled.map(({ receipt, message, attempt, id, deadLetter }) => ({
        receipt,
        message,
        attempt,
        id,
        deadLetter: deadLetter === null ? null : { id: deadLetter.id },
      }))
    }
    case 'ack':
      return queue.ack(call.receipts)
    case 'nack':
      return queue.nack(call.entries)
    case 'extend':
      return queue.extend(call.entries)
  }
}
