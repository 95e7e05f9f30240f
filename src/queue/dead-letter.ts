/** What a dead-letter queue keeps beside each message, as JSON in the entry's `extra`. */
import type { Failure } from './entry.ts'

export interface DeadLetter {
  /** Queue in which the attempts were used up. */
  queue: string
  /** The message's id there: the same message has the same id in the dead-letter queue. */
  id: string
  attempts: number
  /** Wall clock ms at which it was moved. */
  at: number
  /** Oldest first. */
  failures: Failure[]
}

export function encodeDeadLetter(letter: DeadLetter): Buffer {
  return Buffer.from(JSON.stringify(letter))
}

/** Null when the bytes are something else. */
export function decodeDeadLetter(extra: Buffer | null): DeadLetter | null {
  if (extra === null || extra[0] !== 0x7b) return null
  return JSON.parse(extra.toString()) as DeadLetter
}
