import type { Publication } from '../router/publication.ts'
import type { Connection } from './connection.ts'
import { notCommitted } from './goodbye.ts'
import type { Hooks } from './hooks.ts'
import { qos2WasStored } from './taken.ts'

/**
 * Tells the embedding program of a message that was routed, and answers the publisher when the program is done with it. That
 * may take long: when the commit fails meanwhile, the answer is no all the same.
 * @param durable something of the message waits for a commit
 */
export function tellPublished(
  c: Connection,
  published: NonNullable<Hooks['published']>,
  publication: Publication,
  durable: boolean,
  answer: () => void,
): void {
  const { qos, packetId } = publication
  let failure: unknown = null
  if (durable && qos > 0) {
    const decided = (error: unknown): void => {
      failure = error
      // The connection may be gone by then: the message is not taken.
      if (error !== null && qos === 2) qos2WasStored(c, packetId)
    }
    c.core.store.watchGroup(() => {}, decided)
  }
  c.hold()
  published(c, publication, (error) => {
    if (c.state !== 'closed') {
      if (error !== null) c.fail(error)
      else if (failure !== null) notCommitted(c, qos === 1 ? 0x40 : 0x50, packetId, failure)
      else if (qos > 0) answer()
    }
    c.release()
  })
}
