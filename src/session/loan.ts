import type { Group } from '../router/destinations.ts'

/** A message of a shared subscription that a member without durable state has not acknowledged: it may go to another. */
export interface Loan {
  readonly group: Group
  /** The stored form. */
  readonly message: Buffer
  readonly qos: number
  /** False: the client may have it already. */
  sent: boolean
  /** Called when it is acknowledged, or goes nowhere or to another; null: nobody asks. */
  readonly done: (() => void) | null
}

/** What a session has of shared subscriptions and has not acknowledged, by sequence number. */
export class Loans {
  #bySeq: Map<number, Loan> | null = null

  /** The message is being sent. */
  lend(seq: number, loan: Loan | null): void {
    if (loan === null) return
    loan.sent = true
    this.#bySeq ??= new Map()
    this.#bySeq.set(seq, loan)
  }

  /** The message is the client's now. */
  repay(seq: number): void {
    const loan = this.#bySeq?.get(seq)
    if (loan === undefined) return
    this.#bySeq!.delete(seq)
    loan.done?.()
  }

  /** All of them; they are no longer the session's. */
  take(): Loan[] {
    const loans = this.#bySeq === null ? [] : [...this.#bySeq.values()]
    this.#bySeq = null
    return loans
  }
}
