import type { SluiceError } from '../errors.ts'
import type { Admission, DropReason, Intake } from '../queue/intake.ts'
import type { Terms } from '../queue/terms.ts'
import type { LaneTarget, Store } from '../store.ts'
import type { DropCause } from '../telemetry/events.ts'
import type { BridgeTarget } from './destinations.ts'
import type { Publication } from './publication.ts'
import type { Publisher } from './router.ts'

interface Place {
  readonly admission: Extract<Admission, { verdict: 'enter' }>
  /** Null: the message as it was published. */
  readonly message: Buffer | null
}

/**
 * What one PUBLISH is to put into queues, collected before anything of it is written: when one of them refuses, nothing
 * of the message has happened yet. Made only for messages that need a look; others go the short way.
 */
export class Entering {
  /** Refused by a queue or a rule; the first one counts. */
  refusal: SluiceError | null = null
  /** A queue that is full and wants the publisher to wait; counts only when nobody refuses. */
  heldBy: Intake | null = null
  /** Queues that took it without keeping it. */
  readonly dropped: { intake: Intake; reason: DropReason }[] = []
  readonly #places: Place[] = []
  readonly #intakes: Intake[] = []

  /** A message enters a queue once, however many rules lead there: the first one counts. */
  has(intake: Intake): boolean {
    return this.#intakes.includes(intake)
  }

  /**
   * The message is to enter this queue.
   * @param terms null: as a plain message
   * @param message the stored form (src/router/message.ts) when a rule changed the message; null: as it was published
   */
  enter(intake: Intake, terms: Terms | null, message: Buffer | null = null): void {
    if (this.has(intake)) return
    this.#intakes.push(intake)
    const admission = intake.admit(terms)
    if (admission.verdict === 'enter') this.#places.push({ admission, message })
    else if (admission.verdict === 'hold') this.heldBy ??= admission.intake
    else if (admission.verdict === 'refuse') this.refusal ??= admission.error
    else this.dropped.push({ intake, reason: admission.reason })
  }

  /** A rule says no: the publisher hears the error. */
  refuse(error: SluiceError): void {
    this.refusal ??= error
  }

  /** Queues the message enters. */
  get size(): number {
    return this.#places.length
  }

  /** Lanes that get the message as it was published. */
  verbatim(): LaneTarget[] {
    const targets: LaneTarget[] = []
    for (const { admission, message } of this.#places) if (message === null) targets.push(...admission.targets)
    return targets
  }

  /**
   * Writes what rules made of the message, tells the queues, counts what was left out. The verbatim targets have been
   * appended before. True when the acknowledgement has to wait for a commit.
   */
  finish({ store, counters, dropped }: EnteringContext): boolean {
    for (const { admission, message } of this.#places) {
      if (message !== null) store.append(message, admission.targets)
      admission.entered()
    }
    counters.bridged += this.size
    for (const { reason } of this.dropped) dropped(null, reason, 1)
    if (this.refusal !== null) dropped(null, this.refusal.code === 'queue_full' ? 'queue_full' : 'rule_refused', 1)
    if (this.heldBy !== null) dropped(null, 'queue_full', 1)
    // A duplicate is acknowledged when the first one is durable, not before.
    return this.size > 0 || this.dropped.length > 0
  }
}

export interface EnteringContext {
  readonly store: Store
  readonly counters: { bridged: number }
  dropped(session: null, cause: DropCause, count: number): void
}

/**
 * Asks the bridge rules and their queues whether and how a message may enter. Null: it goes the short way, with nothing to
 * ask. Writes nothing; `Router.publish` with the answer has to follow in the same turn.
 */
export function admit(
  bridges: readonly BridgeTarget[],
  publication: Publication,
  publisher: Publisher,
): Entering | null {
  for (let i = 0; i < bridges.length; i++) {
    const { work, intake } = bridges[i]!
    if (work !== null || !intake.open) return ask(bridges, publication, publisher)
  }
  return null
}

function ask(bridges: readonly BridgeTarget[], publication: Publication, publisher: Publisher): Entering {
  const entering = new Entering()
  for (const { work, intake } of bridges) {
    if (work === null) entering.enter(intake, null)
    else work.apply(publication, publisher, entering)
  }
  return entering
}
