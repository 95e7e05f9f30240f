import type { Clock } from '../base/clock.ts'
import type { Store, StoredSession } from '../store.ts'
import type { DropCause, Events } from '../telemetry/events.ts'
import { isShared } from '../wire/topic.ts'
import { isExpired } from './expiry.ts'

export interface RestoreContext {
  readonly store: Store
  readonly clock: Clock
  readonly events: Events
  readonly nodeId: string
  dropped(session: null, cause: DropCause, count: number): void
}

/** Sessions changed at start that are written with one commit. */
const WRITTEN_MAX = 2000

/**
 * Reads the sessions that the store kept. Those whose time was over while no process ran are ended; where nodes share the
 * store, the node that leads ends them, and those that another node serves are left as they are.
 * @param shiftMs what has to be added to the times in the store (`ClockShift`)
 */
export async function restoreSessions(
  c: RestoreContext,
  shiftMs: number,
  adopt: (stored: StoredSession) => void,
): Promise<void> {
  const { store, clock, nodeId } = c
  const now = clock.now()
  let written = 0
  for await (const stored of store.sessions()) {
    const record = stored.session
    const elsewhere = store.shared !== null && record.node !== undefined && record.node !== nodeId
    const served = record.disconnectedAt === 0
    if (served && !elsewhere) {
      // The process died while the client was connected: what waits may have been sent.
      record.maybeSentBefore = store.lane(record.lane).nextSeq
      record.disconnectedAt = now
      delete record.node
      store.putSession(record)
      written++
    }
    // The clock may have been set back since: it left now at the latest.
    const left = Math.min(now, record.disconnectedAt + shiftMs)
    if (!served && left !== record.disconnectedAt && !elsewhere) {
      record.disconnectedAt = left
      store.putSession(record)
    }
    // What a member of a shared subscription leaves behind goes to the others: as when it expires while the process runs.
    const member = stored.subscriptions.some(({ topicFilter }) => isShared(topicFilter))
    if (isExpired(record, now) && store.shared === null && !member) {
      const lane = store.lane(record.lane)
      const messages = lane.waiting
      c.events.emit('sessionExpired', { clientId: record.clientId, messages })
      if (messages > 0) c.dropped(null, 'session_ended', messages)
      store.dropLane(lane)
      store.deleteSession(record.clientId)
      written++
    } else {
      adopt(stored)
    }
    // All in one group would take as much memory as the sessions themselves.
    if (written < WRITTEN_MAX) continue
    written = 0
    await store.commit()
  }
  await store.commit()
}
