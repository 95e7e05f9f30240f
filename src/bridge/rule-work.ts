import { createHash } from 'node:crypto'
import type { Clock } from '../base/clock.ts'
import { SluiceError } from '../errors.ts'
import type { Intake } from '../queue/intake.ts'
import { KEY_BYTES_MAX, type Terms } from '../queue/terms.ts'
import type { RuleWork } from '../router/destinations.ts'
import type { Entering } from '../router/entering.ts'
import { encodeStored, NO_EXPIRY } from '../router/message.ts'
import type { Publication } from '../router/publication.ts'
import type { Publisher } from '../router/router.ts'
import { Candidate } from './candidate.ts'
import type { Rule, Verdict } from './rule.ts'

/** The message that is being looked at, shared by all rules so that its payload is parsed once. */
export class Underway {
  readonly #clock: Clock
  readonly #candidate = new Candidate()
  #loadedFor: Entering | null = null

  constructor(clock: Clock) {
    this.#clock = clock
  }

  candidate(publication: Publication, { session, origin }: Publisher, entering: Entering): Candidate {
    if (this.#loadedFor !== entering) {
      this.#loadedFor = entering
      const clientId = session?.clientId ?? origin.clientId
      this.#candidate.load(publication, clientId, session?.userName ?? origin.userName, this.#clock.now())
    }
    return this.#candidate
  }
}

/** What a rule that is not plain does with each message. */
export function workOf(rule: Rule, underway: Underway, intakeOf: (queue: string) => Intake): RuleWork {
  const intake = intakeOf(rule.queue)
  const { counters } = rule
  return {
    apply(publication: Publication, publisher: Publisher, entering: Entering): void {
      // Another rule brought it there: this one must not take it for invalid, or change what its limits count.
      if (entering.has(intake)) return
      const candidate = underway.candidate(publication, publisher, entering)
      const verdict = rule.judge(candidate)
      switch (verdict.outcome) {
        case 'keep': {
          counters.kept++
          const { payload } = verdict
          const message = payload === null ? null : changed(publication, publisher, candidate.time, payload)
          entering.enter(intake, termsOf(rule, candidate, verdict), message)
          return
        }
        case 'skip':
          counters.skipped++
          return
        case 'drop':
          counters.dropped++
          return
        case 'refuse':
          counters.refused++
          entering.refuse(new SluiceError('payload_invalid', `rule ${rule.name}: ${verdict.reason}`))
          return
        case 'quarantine':
          counters.quarantined++
          entering.enter(intakeOf(rule.quarantineQueue), { rule: rule.name, note: verdict.reason })
      }
    },
  }
}

/** What the rule asks of the queue; null: nothing, so that the message enters as a plain one. */
export function termsOf(rule: Rule, candidate: Candidate, verdict: Verdict): Terms | null {
  const { priority, delayMs, ttlMs } = rule.config
  const { key, deduplicate } = verdict
  if (key === null && deduplicate === null && priority === undefined && delayMs === undefined && ttlMs === undefined)
    return null
  const terms: Terms = {}
  if (key !== null) terms.key = keyBytes(key)
  if (deduplicate !== null) terms.deduplicationKey = keyBytes(deduplicate)
  // A client sends another message with the same content and Packet Identifier one day: only DUP makes it a retransmission.
  if (deduplicate !== null && rule.deduplicatesRetransmissions && !candidate.dup) terms.first = true
  if (priority !== undefined) terms.priority = priority
  if (delayMs !== undefined) terms.deliverAt = candidate.time + delayMs
  if (ttlMs !== undefined) terms.expiresAt = candidate.time + ttlMs
  return terms
}

/** Longer keys are told apart by their SHA-256. */
function keyBytes(key: string): Buffer {
  const bytes = Buffer.from(key)
  return bytes.length <= KEY_BYTES_MAX ? bytes : createHash('sha256').update(bytes).digest()
}

/** The stored form with another payload. */
function changed(publication: Publication, { origin }: Publisher, time: number, payload: Buffer): Buffer {
  const { qos, retain, expirySeconds, expiryOffset, topicBuf, topicStart, topicEnd } = publication
  const { propsBuf, propsStart, propsEnd } = publication
  return encodeStored(
    origin,
    qos,
    retain,
    time,
    expirySeconds < 0 ? NO_EXPIRY : expirySeconds,
    expiryOffset,
    payload,
    topicBuf,
    topicStart,
    topicEnd,
    propsBuf,
    propsStart,
    propsEnd,
    0,
    payload.length,
  )
}
