import type { SluiceError } from '../errors.ts'
import { admit, type Entering } from '../router/entering.ts'
import type { Match, Receiver } from '../router/match.ts'
import type { Publication } from '../router/publication.ts'
import { isDoubtful } from '../session/fullness.ts'
import { PacketType } from '../wire/control.ts'
import type { Connection } from './connection.ts'
import { negative } from './goodbye.ts'

type Take = (c: Connection, publication: Publication, match: Match, entering: Entering | null) => void

/**
 * Lets a PUBLISH through to `take` when the queues it is for have room and no rule refuses it. A queue that wants its
 * publisher to wait (`whenFull: block`) holds the connection: nothing after this packet is looked at until there is room,
 * or the wait is over and the publisher is refused.
 *
 * MQTT 5 hears the reason code [v5 4.13.2]; MQTT 3 has no way to refuse a message, so its connection ends. A QoS 0 message
 * has no answer: it goes to everybody but the queue that has no room.
 */
export function passQueues(c: Connection, publication: Publication, match: Match, take: Take): void {
  const { qos, packetId } = publication
  const entering = match.bridges.length === 0 || taken(c, publication) ? null : admit(match.bridges, publication, c)
  if (entering === null || (entering.refusal === null && entering.heldBy === null)) {
    take(c, publication, match, entering)
  } else if (entering.refusal === null) {
    wait(c, publication.detached(), entering, take)
  } else if (qos === 0) {
    take(c, publication, match, entering)
  } else {
    refuse(c, qos, packetId, entering.refusal)
  }
}

/**
 * What this node knows of a session that another serves may be old: before a message is refused or dropped because such a session
 * is full, it asks, and nothing after this packet is looked at meanwhile. False: there is no doubt, and `go` is not called.
 */
export function asksForRoom(
  c: Connection,
  publication: Publication,
  match: Match,
  go: (c: Connection, publication: Publication, match: Match) => void,
): boolean {
  const { shared } = c.core.store
  if (shared === null || !match.receivers.some(isDoubted)) return false
  const lanes = match.receivers.filter(isDoubted).map(({ session }) => session.lane!)
  const own = publication.detached()
  c.hold()
  void Promise.allSettled(lanes.map((lane) => shared.measure(lane))).then(() => {
    if (c.state !== 'closed') {
      try {
        go(c, own, c.core.router.match(own.topicBuf, own.topicStart, own.topicEnd))
      } catch (error) {
        c.fail(error)
      }
    }
    c.release()
  })
  return true
}

const isDoubted = ({ session, grant }: Receiver): boolean => grant.qos > 0 && isDoubtful(session)

/** False when the message is refused because it could not be kept for a subscriber, or as a retained message. */
export function passSessions(c: Connection, publication: Publication, match: Match): boolean {
  const refusal = c.core.router.refusal(publication, match, c)
  if (refusal === null || taken(c, publication)) return true
  c.core.sessions.dropped(c.session!, 'refused', 1)
  refuse(c, publication.qos, publication.packetId, refusal)
  return false
}

/** A retransmission of a QoS 2 message that was let in before. */
function taken(c: Connection, { qos, packetId }: Publication): boolean {
  return qos === 2 && c.session!.inbound?.has(packetId) === true
}

function wait(c: Connection, publication: Publication, entering: Entering, take: Take): void {
  const intake = entering.heldBy!
  const { qos, packetId, topicBuf, topicStart, topicEnd } = publication
  c.hold()
  intake.whenRoom((room) => {
    if (c.state !== 'closed') {
      try {
        const match = c.core.router.match(topicBuf, topicStart, topicEnd)
        if (room) passQueues(c, publication, match, take)
        else if (qos === 0) take(c, publication, match, admit(match.bridges, publication, c))
        else refuse(c, qos, packetId, intake.fullError())
      } catch (error) {
        c.fail(error)
      }
    }
    c.release()
  })
}

function refuse(c: Connection, qos: number, packetId: number, error: SluiceError): void {
  if (!c.version5) throw error
  c.core.hooks.failed(c, error)
  if (c.unacknowledged > 0) {
    // Acknowledgements leave in the order of their packets [v5 MQTT-4.6.0-2].
    c.unacknowledged++
    c.core.commits.ack(c, (error.reasonCode << 8) | (qos === 1 ? 0x40 : 0x50), packetId)
    return
  }
  const type = qos === 1 ? PacketType.PUBACK : PacketType.PUBREC
  negative(c, type, packetId, error.reasonCode, error.message)
}
