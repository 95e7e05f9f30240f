import type { Core } from '../connection/core.ts'
import type { Session } from '../session/session.ts'
import { type DropCounts, noDrops } from '../telemetry/drops.ts'

/** What the API tells about one client. */
export interface ClientInfo {
  clientId: string
  userName: string | null
  connected: boolean
  /** Of the connection; null while there is none. */
  address: string | null
  protocol: string | null
  /** MQTT protocol level of the connection (3, 4 or 5), or of the last one. */
  version: number | null
  keepAliveSeconds: number | null
  connectedAt: string | null
  /** Since when the session has had no connection. */
  disconnectedAt: string | null
  /** How long the session outlives its connection; null: for ever. */
  expirySeconds: number | null
  subscriptions: number
  /** QoS 1 and 2 messages that wait, those in flight not counted. */
  queued: number
  /** Bytes of what waits and, in a persistent session, of what is in flight. */
  queuedBytes: number
  /** Messages sent and not acknowledged. */
  inflight: number
  /** Bytes that wait in memory until the client takes them. */
  unsentBytes: number
  /** How long it has taken nothing while bytes wait, in ms. */
  stalledForMs: number
  /** Messages it did not get since the session began or the broker started, by cause. */
  dropped: DropCounts
}

const NEVER = 0xffffffff

export function clientInfo(core: Core, session: Session): ClientInfo {
  const owner = session.owner?.state === 'connected' ? session.owner : null
  const peer = owner?.stream.peer
  const inflight = session.delivery.inflightCount
  return {
    clientId: session.clientId,
    userName: session.userName ?? null,
    connected: owner !== null,
    address: peer?.address ?? null,
    protocol: peer?.protocol ?? null,
    version: owner?.version ?? session.record?.version ?? null,
    keepAliveSeconds: owner?.keepAliveSeconds ?? null,
    connectedAt: timeOf(owner?.connectedAt ?? 0),
    disconnectedAt: owner === null ? timeOf(session.disconnectedAt) : null,
    expirySeconds: session.expirySeconds === NEVER ? null : session.expirySeconds,
    subscriptions: session.subscriptions.size,
    queued: session.waiting - inflight,
    queuedBytes: session.waitingBytes,
    inflight,
    unsentBytes: owner?.unsentBytes() ?? 0,
    stalledForMs: owner === null ? 0 : core.watch.stalledForMs(owner),
    dropped: session.drops ?? noDrops(),
  }
}

/**
 * Clients that do not keep up: bytes wait for them, or messages were dropped because they were slow. Those with most unsent
 * come first, then those with most drops.
 */
export function slowReaders(core: Core, max: number): ClientInfo[] {
  const slow: { session: Session; unsent: number; drops: number }[] = []
  for (const session of core.sessions.values()) {
    const unsent = session.link?.out.waitingBytes ?? 0
    const drops = slowDrops(session.drops)
    if (unsent > 0 || drops > 0) slow.push({ session, unsent, drops })
  }
  slow.sort((a, b) => b.unsent - a.unsent || b.drops - a.drops)
  return slow.slice(0, max).map(({ session }) => clientInfo(core, session))
}

function slowDrops(drops: DropCounts | null): number {
  return drops === null ? 0 : drops.outbound_full + drops.session_full + drops.memory
}

function timeOf(ms: number): string | null {
  return ms === 0 ? null : new Date(ms).toISOString()
}
