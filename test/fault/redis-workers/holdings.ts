/** Who holds what, as workers see it, and what that proves. Times are of this process, taken after Redis answered. */
export class Holdings {
  /** Payloads whose XACK was answered with 1. */
  readonly done = new Set<string>()
  /** Payloads that were worked, and of which XACK was sent, whatever came back. */
  readonly worked = new Set<string>()
  readonly violations: string[] = []
  deliveries = 0
  late = 0
  readonly #leaseMs: number
  readonly #slackMs: number
  readonly #held = new Map<string, { worker: string; since: number; payload: string }>()
  readonly #doneIds = new Map<string, string>()

  /** @param slackMs how much later than Redis this process may notice */
  constructor(leaseMs: number, slackMs: number) {
    this.#leaseMs = leaseMs
    this.#slackMs = slackMs
  }

  taken(id: string, payload: string, worker: string): void {
    this.deliveries++
    const before = this.#held.get(id)
    const now = performance.now()
    if (before !== undefined && now - before.since < this.#leaseMs - this.#slackMs) {
      const ms = Math.round(now - before.since)
      this.violations.push(`two at once: ${payload} (${id}) went to ${worker} ${ms} ms after ${before.worker} took it`)
    }
    const doneBy = this.#doneIds.get(id)
    if (doneBy !== undefined)
      this.violations.push(
        `done twice: ${payload} (${id}) went to ${worker} although XACK of ${doneBy} was answered with 1`,
      )
    this.#held.set(id, { worker, since: now, payload })
  }

  renewed(id: string, worker: string): void {
    const held = this.#held.get(id)
    if (held?.worker === worker) held.since = performance.now()
  }

  givenBack(id: string, worker: string): void {
    if (this.#held.get(id)?.worker === worker) this.#held.delete(id)
  }

  saysSo(payload: string): void {
    this.worked.add(payload)
  }

  /** @param answer of XACK */
  saysDone(id: string, worker: string, answer: number): void {
    const held = this.#held.get(id)
    if (answer === 0) {
      this.late++
      return
    }
    if (held?.worker !== worker)
      this.violations.push(`late: XACK of ${id} by ${worker} counted although ${held?.worker} has it`)
    else this.#held.delete(id)
    this.#doneIds.set(id, worker)
    if (held !== undefined) this.done.add(held.payload)
  }
}
