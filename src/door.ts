/**
 * PORT: a place outside where messages of work queues lie for workers that do not speak with the broker, and where those say
 * what became of them. The broker is a worker of its own queue on their behalf: what lies outside is leased, and the place
 * decides who was in time.
 *
 *     lay ──▶ lying ──a worker takes it──▶ taken ──the worker says done──────▶ done ──remove──▶ gone
 *               │                            │ ├──it says something else──▶ answered ──remove──▶ gone
 *               └── takeBack ──▶ gone        │ └──another worker claims it──▶ taken
 *                                            └── overdue ──▶ gone: a worker that says done now hears that it is late
 */

/** A message for outside: names and values in turn, of which `receipt` is one. */
export type DoorFields = readonly (string | Buffer)[]

/** What is to be done at the door of one queue, in the order of these fields. */
export interface DoorOrder {
  readonly queue: string
  /** Ids of what is settled: removed, whatever its state. */
  readonly remove: readonly string[]
  /** Ids of answers that have been dealt with. */
  readonly answered: readonly string[]
  /** Only answers after this one are told; empty: all there are, and those of an earlier keeper count too. */
  readonly answersAfter: string
  /** Taken out where nobody has taken them yet. */
  readonly takeBack: readonly string[]
  /** Taken out where the worker that has it has not been heard for so long, in ms. */
  readonly overdue: readonly { readonly id: string; readonly idleMs: number }[]
  /** Laid out, first in, first out. */
  readonly lay: readonly DoorFields[]
  /** `mark` of the last report: where nothing has changed since, who holds what is not told again. Empty: tell it. */
  readonly since: string
  /** Workers known of as of the last report. When their number is another now, their names are told. */
  readonly workers: number
  /** Tell when a worker was last heard of, and remove those that were not for a day and hold nothing. */
  readonly look: boolean
  /** Tell everything that lies there. */
  readonly survey: boolean
  /** The queue has no door any more: the place is removed when nothing lies there. */
  readonly close: boolean
}

/** Somebody has this message. */
export interface DoorHeld {
  readonly id: string
  readonly worker: string
  /** Time since the worker took, claimed or renewed it, in ms. */
  readonly idleMs: number
  /** How often it was handed to a worker, renewals aside. */
  readonly times: number
}

/** What a worker said about a message it had. */
export interface DoorAnswer {
  /** Of the answer. */
  readonly id: string
  /** Of what lay there. */
  readonly of: string
  readonly says: 'nack' | 'reject' | 'release' | 'extend'
  /** `nack`: delay; `extend`: new length of the lease; in ms. Absent: the queue's own. */
  readonly ms?: number
  readonly reason?: string
}

export interface DoorReport {
  readonly queue: string
  /** Why it could not be done, or not all of it; empty: it was. */
  readonly failure: string
  /** The place was not there, or somebody had removed it: what lay there before this order is gone. */
  readonly made: boolean
  /** The place is gone, as asked for by `close`. */
  readonly closed: boolean
  /** Ids of what was laid, in order; fewer than asked for when there was no room. */
  readonly laid: readonly string[]
  readonly takenBack: readonly string[]
  readonly overdue: readonly string[]
  readonly answers: readonly DoorAnswer[]
  /** Everything up to this id has been taken by somebody. */
  readonly lastTaken: string
  readonly mark: string
  /** In order of their ids; null: as in the report whose mark was given. */
  readonly held: readonly DoorHeld[] | null
  /** How much lies there, done or not. */
  readonly entries: number
  readonly workers: number
  /** Null: as many as the order said. */
  readonly workerNames: readonly string[] | null
  /** Workers that were removed because they had not been heard of for long. Only with `look`. */
  readonly forgotten: readonly string[]
  /** Ms since any worker was heard of; Infinity: there is none. Null: not looked. */
  readonly heardMs: number | null
  /** Only with `survey`. */
  readonly lying: readonly { readonly id: string; readonly receipt: string }[] | null
}

export interface Door {
  /** Where workers find the messages of the queue, for people. */
  placeOf(queue: string): string
  /**
   * Makes this process the one that keeps the door: what an earlier keeper, or an earlier connection of this one, still has on
   * its way is refused. Resolves with the queues of which something may lie outside.
   * @param wanted false: only if something lies outside
   * @throws SluiceError store_unavailable, node_fenced
   */
  begin(wanted: boolean): Promise<string[]>
  /**
   * One step. When it rejects, it is open what has been done: `begin`, then survey.
   * @throws SluiceError store_unavailable: also when another keeper has begun; node_fenced
   */
  exchange(orders: readonly DoorOrder[]): Promise<DoorReport[]>
  close(): void
}

/** What people see of a door. */
export interface DoorFacts {
  /** Where workers find its messages. */
  readonly place: string
  /** Messages nobody has taken. */
  readonly lying: number
  readonly taken: number
  /** Workers the place knows of, those that are gone included. */
  readonly workers: number
}
