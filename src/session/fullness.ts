/**
 * Persistent sessions that are full, where nodes share the store. Only the node that serves a session can give up its oldest messages
 * or close its connection: the others let a message pass and leave that to it. Of a session that nobody serves, who appends gives
 * up the oldest.
 */
import type { Lane } from '../store.ts'
import type { Session, SessionContext } from './session.ts'

/** Sessions that are being trimmed here, and whether more was appended meanwhile. */
const trimming = new Map<Session, boolean>()

/** True when a node does something about the session's being full after a message was appended. */
function trims({ kept, limits: { sessionFullPolicy } }: Session): boolean {
  return kept && (sessionFullPolicy === 'drop-oldest' || sessionFullPolicy === 'disconnect')
}

/** True when the message may be appended although the session is full: it is seen to that no more waits than may. */
export function makesRoomLater(session: Session, context: SessionContext): boolean {
  if (context.store.shared === null || session.owner !== null || !trims(session)) return false
  if (session.node !== null) return true
  if (session.limits.sessionFullPolicy !== 'drop-oldest') return false
  trimAway(session, context)
  return true
}

/** True when it seems to be full, and only the node that serves it knows whether it still is. */
export function isDoubtful(session: Session): boolean {
  return session.kept && session.owner === null && session.node !== null && !session.hasRoom && !trims(session)
}

/** Asks how much waits, where another node serves the session. @param lane null: nobody has asked for it yet */
export function measure(session: Session, lane: Lane | null, { store: { shared } }: SessionContext): void {
  if (shared !== null && session.owner === null && lane !== null) shared.measure(lane).catch(() => {})
}

/** Others may have appended more than the session may hold, which this node serves. */
export function trim(session: Session, { store, cutFull, dropped }: SessionContext): void {
  if (!trims(session)) return
  const measured = (): void => {
    if (session.owner === null || !isOverfull(session)) return
    if (session.limits.sessionFullPolicy === 'disconnect') cutFull(session)
    else while (isOverfull(session) && session.delivery.dropOldest()) dropped(session, 'session_full', 1)
  }
  store.shared!.measure(session.lane!).then(measured, () => {})
}

/** Gives up the oldest messages that were not sent, of a session that no node serves, once those just appended are durable. */
function trimAway(session: Session, context: SessionContext): void {
  if (trimming.has(session)) {
    trimming.set(session, true)
    return
  }
  trimming.set(session, false)
  void trimOnce(session, context)
    // The store says itself what is wrong with it.
    .catch(() => {})
    .then(() => {
      const again = trimming.get(session)
      trimming.delete(session)
      if (again) trimAway(session, context)
    })
}

async function trimOnce(session: Session, { store, commits, dropped }: SessionContext): Promise<void> {
  const lane = session.lane!
  const { sessionQueuedMessagesMax, sessionQueuedBytesMax } = session.limits
  await commits.done()
  await store.shared!.measure(lane)
  // Counted here: of a lane that this node does not keep it hears what waits with the answer of Redis.
  let messages = lane.waiting - sessionQueuedMessagesMax
  let bytes = lane.waitingBytes - sessionQueuedBytesMax
  const isDue = (): boolean => (messages > 0 || bytes > 0) && session.owner === null && session.node === null
  let next = session.maybeSentBefore
  while (isDue() && !session.ended) {
    const chunk = await store.read(lane, next)
    if (chunk === null) break
    for (next = Math.max(next, chunk.firstSeq); next < chunk.firstSeq + chunk.count && isDue(); next++) {
      const i = next - chunk.firstSeq
      if (chunk.isSettled(i)) continue
      messages--
      // Settled, its body may be gone.
      bytes -= chunk.lengthOf(i)
      store.settle(lane, next)
      dropped(session, 'session_full', 1)
    }
  }
  await commits.done()
}

/** True when more waits than may. */
function isOverfull({ waiting, waitingBytes, limits }: Session): boolean {
  return waiting > limits.sessionQueuedMessagesMax || waitingBytes > limits.sessionQueuedBytesMax
}
