import type { Subscription } from '../../router/destinations.ts'
import { encodeUnsuback } from '../../wire/suback.ts'
import { decodeUnsubscribe } from '../../wire/unsubscribe.ts'
import type { Connection } from '../connection.ts'
import { reply } from '../goodbye.ts'
import { joinQueue } from './subscribe.ts'

/**
 * UNSUBSCRIBE ([v5 3.10] [v3 3.10]). The answer waits until a persistent session's change is durable, and until every node
 * knows: nothing that is published after it is for the client any more [v5 MQTT-3.10.4-2].
 */
export function handleUnsubscribe(c: Connection, buf: Buffer, start: number, end: number): void {
  const packet = decodeUnsubscribe(buf, start, end, c.version)
  const session = c.session!
  const removed: Subscription[] = []
  const codes = packet.unsubscriptions.map(({ topicFilter, error }) => {
    if (error !== undefined) return 0x8f
    const subscription = session.subscriptions.get(topicFilter)
    if (subscription === undefined) return 0x11
    c.core.subscriptions.remove(session, topicFilter)
    removed.push(subscription)
    c.queues?.leave(topicFilter)
    return 0
  })
  const topicFilters = removed.map(({ topicFilter }) => topicFilter)
  if (removed.length > 0) c.core.hooks.unsubscribed(c, topicFilters)
  for (const topicFilter of topicFilters)
    c.core.events.emit('clientUnsubscribed', { clientId: c.clientId, topicFilter })
  const answer = encodeUnsuback(c.version, packet.packetId, codes)
  const { nodes } = c.core
  const done = (): void => reply(c, answer)
  if (removed.length === 0 || (!session.kept && nodes === null)) {
    done()
    return
  }
  c.core.commits.wait({
    committed: () => (nodes === null ? done() : void nodes.seenByAll().then(done, done)),
    // The subscriptions are there again. MQTT 3 has no code for it.
    notCommitted: (error) => {
      if (c.state === 'closed') return
      if (!session.kept) return done()
      if (!c.version5) return c.fail(error)
      for (const subscription of removed) joinQueue(c, subscription)
      const refusals = codes.map((code) => (code === 0 ? 0x80 : code))
      reply(c, encodeUnsuback(c.version, packet.packetId, refusals))
    },
  })
}
