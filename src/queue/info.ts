import { storedTime } from '../router/message.ts'
import type { Lane, Store } from '../store.ts'
import type { WorkQueue } from './queue.ts'
import type { QueueInfo } from './requests.ts'

/** What a queue says about itself to people. */
export async function describeQueue(queue: WorkQueue, store: Store): Promise<QueueInfo> {
  const { name, ready, leased, delayed, waitingBytes, deadLetterQueue, paused } = queue
  const info: QueueInfo = { name, ready, leased, delayed, bytes: waitingBytes, deadLetterQueue, paused }
  const times = await Promise.all(queue.stripes.map(({ lane }) => oldestTime(store, lane)))
  const oldestAt = Math.min(...times)
  return oldestAt === Number.POSITIVE_INFINITY ? info : { ...info, oldestAt }
}

/** When the oldest message that is not done came; Infinity: there is none. */
async function oldestTime(store: Store, lane: Lane): Promise<number> {
  const chunk = lane.waiting === 0 ? null : await store.read(lane, 1)
  for (let i = 0; chunk !== null && i < chunk.count; i++) if (!chunk.isSettled(i)) return storedTime(chunk.message(i))
  return Number.POSITIVE_INFINITY
}
