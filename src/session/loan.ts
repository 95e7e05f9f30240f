import type { Group } from '../router/destinations.ts'

/** A message of a shared subscription that a member without durable state has not acknowledged: it may go to another. */
export interface Loan {
  readonly group: Group
  /** The stored form. */
  readonly message: Buffer
  readonly qos: number
  /** False: the client may have it already. */
  sent: boolean
}
