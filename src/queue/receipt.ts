/**
 * The fencing receipt of one delivery: `<number>-<lease id in base 36>`, where the number
 * is that of the message within its queue. A lease id is never used twice, not even after a
 * restart or by another queue, so an older receipt for the same message cannot pass for the newer one.
 */
export function receiptOf(ref: number, leaseSuffix: string): string {
  return `${ref}-${leaseSuffix}`
}

export function leaseSuffix(leaseId: number): string {
  return leaseId.toString(36)
}

/** The message's number; NaN for what is not a receipt. */
export function receiptRef(receipt: string): number {
  let ref = 0
  for (let i = 0; i < receipt.length; i++) {
    const digit = receipt.charCodeAt(i) - 0x30
    if (digit === DASH && i > 0) return ref
    if (digit < 0 || digit > 9) break
    ref = ref * 10 + digit
  }
  return Number.NaN
}

/** A dash, counted from the digit zero. */
const DASH = -3

let lastSuffix = ''
let lastId = Number.NaN

/** The lease id; NaN for what is not a receipt. Receipts of one pull come together: the last suffix is remembered. */
export function receiptLeaseId(receipt: string): number {
  const suffix = receipt.slice(receipt.indexOf('-') + 1)
  if (suffix !== lastSuffix) {
    const id = Number.parseInt(suffix, 36)
    lastSuffix = suffix
    lastId = id.toString(36) === suffix ? id : Number.NaN
  }
  return lastId
}

/**
 * Lease ids for all queues of a process. They start from the wall clock in units of 1/1024 ms, so a later process
 * starts above every id of an earlier one (fewer than 1,024 leases are given in a millisecond), and stay below 2^53.
 */
export class LeaseIds {
  #last: number

  constructor(now: number) {
    this.#last = LeaseIds.at(now)
  }

  /** The first id of this wall clock time, ms. */
  static at(now: number): number {
    return now * 1024
  }

  next(): number {
    return ++this.#last
  }

  /** Ids found in the store are never given again, even if the wall clock was set back. */
  seen(id: number): void {
    if (id > this.#last) this.#last = id
  }
}
