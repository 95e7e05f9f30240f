/** How queues and their messages are shown to people: as JSON of the HTTP API. */
import { isUtf8 } from 'node:buffer'
import type { Page, Seen } from '../queue/browse.ts'
import type { Outlook } from '../queue/control.ts'
import type { Failure } from '../queue/entry.ts'
import type { Job } from '../queue/job-records.ts'
import type { Found } from '../queue/selection.ts'

/** A message without a receipt: looked at, not taken. Times are ISO 8601; payloads that are no UTF-8 are base64. */
export function messageView(found: Found | Seen): object {
  const { id, message, terms } = found
  const { topic, clientId, userName, qos, retain, time, payload } = message
  const text = isUtf8(payload)
  const { key, deduplicationKey, deliverAt, expiresAt, replayedAt, rule, note, deadLetter } = terms
  return {
    id,
    topic,
    clientId,
    ...(userName !== undefined && { userName }),
    qos,
    retain,
    time: iso(time),
    encoding: text ? 'utf8' : 'base64',
    payload: payload.toString(text ? 'utf8' : 'base64'),
    ...('state' in found && {
      priority: found.priority,
      state: found.state,
      attempts: found.attempts,
      failures: found.failures.map(failureView),
    }),
    ...(key !== undefined && { key: keyView(key) }),
    ...(deduplicationKey !== undefined && { deduplicationKey: keyView(deduplicationKey) }),
    ...(deliverAt !== undefined && { deliverAt: iso(deliverAt) }),
    ...(expiresAt !== undefined && { expiresAt: iso(expiresAt) }),
    ...(replayedAt !== undefined && { replayedAt: iso(replayedAt) }),
    ...(rule !== undefined && { rule }),
    ...(note !== undefined && { note }),
    ...(deadLetter !== undefined && {
      deadLetter: { queue: deadLetter.queue, attempts: deadLetter.attempts, at: iso(deadLetter.at) },
    }),
  }
}

/** `next` goes into `after` for the next page; null: there is none. */
export function pageView({ messages, next }: Page<Found | Seen>): object {
  return { messages: messages.map(messageView), next: next === undefined ? null : String(next) }
}

/** A redrive or replay, without how it remembers where it is. */
export function jobView({ startedAt, endedAt, selection, ...job }: Job): object {
  const { from, to, ...more } = selection
  const times = { ...(from !== undefined && { from: iso(from) }), ...(to !== undefined && { to: iso(to) }) }
  return {
    ...job,
    selection: { ...more, ...times },
    startedAt: iso(startedAt),
    ...(endedAt !== undefined && { endedAt: iso(endedAt) }),
  }
}

/** Infinity is null: never, or without end. */
export function forecastView({ queue, measured, forecast }: Outlook): object {
  return { queue, measured: finite({ ...measured }), forecast: finite({ ...forecast }) }
}

function finite(numbers: Record<string, number>): Record<string, number | null> {
  return Object.fromEntries(Object.entries(numbers).map(([name, n]) => [name, Number.isFinite(n) ? n : null]))
}

function failureView({ at, attempt, reason }: Failure): object {
  return { at: iso(at), attempt, reason }
}

function keyView(key: Buffer): string {
  return isUtf8(key) ? key.toString() : `base64:${key.toString('base64')}`
}

function iso(ms: number): string {
  return new Date(ms).toISOString()
}
