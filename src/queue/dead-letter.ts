/** What a dead-letter queue keeps beside each message, among its terms. */
import type { Failure } from './entry.ts'

export interface DeadLetter {
  /** Queue in which the attempts were used up. */
  queue: string
  /** The message's id there: the same message has the same id in the dead-letter queue. */
  id: string
  attempts: number
  /** Wall clock ms at which it was moved. */
  at: number
  /** Its priority there, when that was not the usual one. */
  priority?: number
  /** Oldest first. */
  failures: Failure[]
}
