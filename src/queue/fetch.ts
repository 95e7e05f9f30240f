import type { Chunk, Store } from '../store.ts'
import type { Delivery } from './delivery.ts'
import type { Stripe } from './stripe.ts'

/** Message bytes of one pull's answer; the last message may go beyond. Fresh messages keep to READ_AHEAD_BYTES_MAX. */
const FETCHED_BYTES_MAX = 4 * 1024 * 1024

/**
 * Reads the messages that are handed out again. What is gone meanwhile or has expired is settled and left out; what is too
 * much for one answer is in `rest`.
 */
export async function fetchMessages(
  store: Store,
  deliveries: readonly Delivery[],
  expired: (message: Buffer, extra: Buffer | null) => boolean,
): Promise<{ kept: Delivery[]; rest: Delivery[] }> {
  const kept: Delivery[] = []
  let bytes = 0
  let chunk: Chunk | null = null
  let from: Stripe | null = null
  for (const [i, delivery] of deliveries.entries()) {
    if (bytes >= FETCHED_BYTES_MAX) return { kept, rest: deliveries.slice(i) }
    if (!delivery.fetched) {
      const { seq, stripe } = delivery
      if (chunk === null || stripe !== from || seq < chunk.firstSeq || seq >= chunk.firstSeq + chunk.count)
        chunk = await store.read(stripe.lane, seq)
      from = stripe
      const index = chunk === null ? -1 : seq - chunk.firstSeq
      const message = chunk === null || index < 0 || chunk.isSettled(index) ? null : chunk.message(index)
      const extra = chunk?.extras?.[index] ?? null
      if (message === null || expired(message, extra)) {
        const entry = stripe.book.find(seq, delivery.leaseId)
        if (entry !== null) stripe.book.settle(entry)
        continue
      }
      delivery.message = message
      delivery.extra = extra
    }
    bytes += delivery.message.length
    kept.push(delivery)
  }
  return { kept, rest: [] }
}
