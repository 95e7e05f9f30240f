import type { AuthenticationMethod } from '../authenticator.ts'
import type { Clock } from '../base/clock.ts'
import type { Config } from '../config/schema.ts'
import type { Drain } from '../nodes/drain.ts'
import type { Nodes } from '../nodes/nodes.ts'
import type { MemberQueue } from '../queue/member-queue.ts'
import type { Queues } from '../queue/queues.ts'
import type { Heartbeat, WorkerCommand } from '../queue/workers.ts'
import type { Commits } from '../router/commits.ts'
import type { Publication } from '../router/publication.ts'
import type { RetainedIndex } from '../router/retained.ts'
import type { RetainedJournal } from '../router/retained-journal.ts'
import type { Router } from '../router/router.ts'
import type { StoreRoom } from '../router/store-room.ts'
import type { Sessions } from '../session/sessions.ts'
import type { Subscriptions } from '../session/subscriptions.ts'
import type { Wills } from '../session/will.ts'
import type { Store } from '../store.ts'
import type { Counters } from '../telemetry/counters.ts'
import type { Events } from '../telemetry/events.ts'
import type { Backpressure } from './backpressure.ts'
import type { Connection } from './connection.ts'
import type { Flusher } from './flusher.ts'
import type { Gate } from './gate.ts'
import type { Hooks } from './hooks.ts'
import type { LimitsBook } from './limits-book.ts'
import type { Memory } from './memory.ts'
import type { MemoryRelief } from './memory-relief.ts'
import type { Watch } from './watch.ts'

/** What every connection works with. Made once, by the composition root. */
export interface Core {
  readonly config: Config
  readonly clock: Clock
  readonly store: Store
  readonly commits: Commits
  readonly router: Router
  readonly retained: RetainedIndex
  readonly storeRoom: StoreRoom
  readonly retainedJournal: RetainedJournal
  readonly sessions: Sessions
  readonly subscriptions: Subscriptions
  readonly wills: Wills
  /** Work queues: clients subscribe to them as `$queue/<name>`. */
  readonly queues: Queues
  /** A work queue as members on this node reach it; undefined: there is none of this name. */
  findQueue(name: string): MemberQueue | undefined
  /** Takes a worker's heartbeat; resolves with what the worker is to do. Rejects when nobody keeps the queues. */
  workerHeard(id: string, heartbeat: Heartbeat): Promise<WorkerCommand>
  readonly flusher: Flusher
  readonly watch: Watch
  /** Which limits are in force for whom. */
  readonly limitsBook: LimitsBook
  readonly gate: Gate
  /** Bytes that wait for clients. */
  readonly memory: Memory
  readonly memoryRelief: MemoryRelief
  readonly backpressure: Backpressure
  readonly counters: Counters
  readonly events: Events
  readonly hooks: Hooks
  /** Enhanced authentication, by name ([v5 4.12]). An embedding program may add to them. */
  readonly authenticationMethods: Map<string, AuthenticationMethod>
  /** PUBLISH packets are read into this one; what outlives the turn is copied. */
  readonly scratch: Publication
  /** Connections that are not clients yet: CONNECT has not come or is not answered. */
  readonly unconnected: Set<Connection>
  /** Whether new clients are welcome. */
  readonly drain: Drain
  /** Null: there is one node. */
  readonly nodes: Nodes | null
}
