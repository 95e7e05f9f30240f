import type { Lane, Store } from '../store.ts'

/**
 * Where nodes share the store: this node, which keeps the queues, settles the lane and hears of it. What it appends itself
 * is heard at once.
 */
export function keepLane(store: Store, lane: Lane): Promise<void> {
  // The store reports its own failures; a lane that could not be had is asked for again by whoever settles in it.
  return store.shared?.keep(lane).catch(() => {}) ?? Promise.resolve()
}
