import type { Clock } from '../base/clock.ts'
import type { Store } from '../store.ts'
import type { Session } from './session.ts'

/** Lanes that are asked about at a time. */
const MEASURED_TOGETHER = 500

/**
 * Sessions whose nodes are gone wait for their clients from now on. Rejects while the store cannot be asked; what was not written
 * by then is left as it is.
 */
export async function adoptOrphans(
  store: Store,
  clock: Clock,
  byId: ReadonlyMap<string, Session>,
  isThere: (nodeId: string) => boolean,
): Promise<void> {
  const isOrphan = (session: Session): boolean =>
    session.disconnectedAt === 0 &&
    session.kept &&
    session.owner === null &&
    (session.node === null || !isThere(session.node)) &&
    byId.get(session.clientId) === session
  const orphans = [...byId.values()].filter(isOrphan)
  for (let i = 0; i < orphans.length; i += MEASURED_TOGETHER) {
    const some = orphans.slice(i, i + MEASURED_TOGETHER)
    // How far their lanes go only the store knows: all that the node that is gone may have sent is to be sent again with DUP.
    await Promise.all(some.map(({ lane }) => store.shared!.measure(lane!)))
    for (const session of some.filter(isOrphan)) {
      session.maybeSentBefore = session.lane!.nextSeq
      Object.assign(session, { disconnectedAt: clock.now(), node: null })
      store.putSession(session.record!)
    }
  }
}
