import { SluiceError } from '../errors.ts'
import { decodeMessage, type Message, storedTime } from '../router/message.ts'
import { isPlainFilter, matches } from '../wire/topic.ts'
import { decodeTerms, type EntryTerms } from './terms.ts'

/** Which messages of a lane are meant. What is absent asks nothing. */
export interface Selection {
  ids?: readonly string[]
  topicFilter?: string
  /** Client Identifier of the publisher: the device. */
  clientId?: string
  /** When the broker took the message, wall clock ms: from this on. */
  from?: number
  /** Up to and without this. */
  to?: number
  /** A part of the reason for which it failed last. */
  reason?: string
}

/** One entry of a lane, decoded. */
export interface Found {
  readonly seq: number
  readonly id: string
  readonly message: Message
  readonly terms: EntryTerms
}

export type Select = (seq: number, stored: Buffer, extra: Buffer | null, idOf: (seq: number) => string) => Found | null

/**
 * A selection as a function from an entry to what it says, or null when it is not meant.
 * @throws SluiceError topic_filter_invalid
 */
export function compileSelection({ ids, topicFilter, clientId, from, to, reason }: Selection): Select {
  if (topicFilter !== undefined && !isPlainFilter(topicFilter))
    throw new SluiceError('topic_filter_invalid', `${JSON.stringify(topicFilter)} is not a valid Topic Filter`)
  const wanted = ids === undefined ? null : new Set(ids)
  return (seq, stored, extra, idOf) => {
    const time = storedTime(stored)
    if ((from !== undefined && time < from) || (to !== undefined && time >= to)) return null
    const terms = decodeTerms(extra)
    const id = terms.id ?? terms.deadLetter?.id ?? idOf(seq)
    if (wanted !== null && !wanted.has(id)) return null
    if (reason !== undefined && terms.deadLetter?.failures.at(-1)?.reason.includes(reason) !== true) return null
    const message = decodeMessage(stored)
    if (topicFilter !== undefined && !matches(topicFilter, message.topic)) return null
    if (clientId !== undefined && message.clientId !== clientId) return null
    return { seq, id, message, terms }
  }
}
