import { encodeUnsuback } from '../../wire/suback.ts'
import { decodeUnsubscribe } from '../../wire/unsubscribe.ts'
import type { Connection } from '../connection.ts'
import { reply } from '../goodbye.ts'

/** UNSUBSCRIBE ([v5 3.10] [v3 3.10]). The answer waits until a persistent session's change is durable. */
export function handleUnsubscribe(c: Connection, buf: Buffer, start: number, end: number): void {
  const packet = decodeUnsubscribe(buf, start, end, c.version)
  const session = c.session!
  const removed: string[] = []
  const codes = packet.unsubscriptions.map(({ topicFilter, error }) => {
    if (error !== undefined) return 0x8f
    if (!c.core.subscriptions.remove(session, topicFilter)) return 0x11
    removed.push(topicFilter)
    c.queues?.leave(topicFilter)
    return 0
  })
  if (removed.length > 0) c.core.hooks.unsubscribed(c, removed)
  for (const topicFilter of removed) c.core.events.emit('clientUnsubscribed', { clientId: c.clientId, topicFilter })
  const answer = encodeUnsuback(c.version, packet.packetId, codes)
  if (!session.kept || removed.length === 0) {
    reply(c, answer)
    return
  }
  c.core.commits.wait({
    committed: () => reply(c, answer),
    notCommitted: (error) => c.fail(error),
  })
}
