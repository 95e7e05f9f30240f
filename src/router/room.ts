/** Whether there is room for a message where it would be kept: in sessions, and among the retained messages. */
import { SluiceError } from '../errors.ts'
import { type Group, type Member, RemoteMember } from './destinations.ts'
import type { Match } from './match.ts'
import { HEADER_BYTES } from './message.ts'
import type { Publication } from './publication.ts'
import { isSys, type RetainedIndex } from './retained.ts'
import type { Publisher } from './router.ts'

export interface RoomLimits {
  readonly retainedMessagesMax: number
  readonly retainedBytesMax: number
}

export interface Room {
  readonly retained: RetainedIndex
  readonly limits: RoomLimits
  readonly storeRoom: { readonly shortage: SluiceError | null }
  /** Some session may refuse messages when it is full. */
  readonly mayRefuse: boolean
}

/**
 * Why a message of QoS 1 or 2 is not taken at all, although nothing is wrong with it: it could not be kept where its
 * acknowledgement would say that it is. Null: it is taken.
 */
export function refusalOf(
  publication: Publication,
  match: Match,
  { origin }: Publisher,
  room: Room,
): SluiceError | null {
  const { shortage } = room.storeRoom
  if (shortage !== null && isKept(publication, match)) return shortage
  if (publication.retain && publication.payloadStart < publication.payloadEnd && !isSys(match.topic)) {
    const bytes = HEADER_BYTES + origin.bytes.length + publication.contentBytes
    if (isFull(room, match.topic, bytes))
      return new SluiceError('quota_exceeded', 'limits.retainedMessagesMax or limits.retainedBytesMax is reached')
  }
  if (!room.mayRefuse) return null
  const full = match.receivers.find(({ session, grant }) => grant.qos > 0 && session.refuses)
  if (full === undefined && !match.groups.some(refusesGroup)) return null
  return new SluiceError('quota_exceeded', 'the session of a subscriber is full')
}

/** True when something of the message would be written. Removing a retained message makes room. */
function isKept(publication: Publication, match: Match): boolean {
  const { qos, retain, payloadStart, payloadEnd } = publication
  if (retain && payloadStart < payloadEnd && !isSys(match.topic)) return true
  if (match.bridges.length > 0 || match.lanes(qos, retain).targets.length > 0) return true
  return match.groups.some(({ members }) => {
    for (const member of members.members())
      if (member instanceof RemoteMember || member.subscription.session.kept) return true
    return false
  })
}

/** True when the retained messages may not take this one. @param bytes of the message */
export function isFull({ retained, limits, storeRoom }: Room, topic: string, bytes: number): boolean {
  if (storeRoom.shortage !== null) return true
  if (retained.size < limits.retainedMessagesMax && retained.bytes + bytes <= limits.retainedBytesMax) return false
  const known = retained.get(topic)
  if (known === undefined) return true
  return bytes > known.length && retained.bytes - known.length + bytes > limits.retainedBytesMax
}

/** The member whose turn it is; where that is full, another that is not, if there is one. */
export function pickWithRoom(
  group: Group,
  publisherId: string,
  topic: string,
  qos: number,
): Member | RemoteMember | null {
  const first = group.members.pick(publisherId, topic)
  if (qos === 0 || first === null || hasRoom(first)) return first
  const full = new Set<Member | RemoteMember>()
  for (
    let member: typeof first | null = first;
    member !== null;
    member = group.members.pick(publisherId, topic, full)
  ) {
    if (hasRoom(member)) return member
    full.add(member)
  }
  return first
}

/** How full a session on another node is only that node knows. */
function hasRoom(member: Member | RemoteMember): boolean {
  return member instanceof RemoteMember || member.subscription.session.hasRoom
}

function refusesGroup(group: Group): boolean {
  for (const member of group.members.members()) {
    if (member instanceof RemoteMember) return false
    if (member.subscription.qos === 0 || !member.subscription.session.refuses) return false
  }
  return true
}
