import type { LaneTarget } from '../store.ts'
import type { Publication } from './publication.ts'

/** DUP, above the Packet Identifier. */
const DUP = 0x1_0000

/**
 * How a PUBLISH was numbered, as the tag of a lane's entry: Packet Identifier and DUP. The stored form of a message
 * does not have them, as they belong to the exchange with one client; a rule that recognises retransmissions needs them.
 */
export function packetTag({ packetId, dup }: { packetId: number; dup: boolean }): number {
  return packetId | (dup ? DUP : 0)
}

/** Gives a publication that was loaded from its stored form the numbers it came with. */
export function numberFrom(tag: number, publication: { packetId: number; dup: boolean }): void {
  publication.packetId = tag & 0xffff
  publication.dup = (tag & DUP) !== 0
}

/** The targets, of which this one gets the packet's tag. */
export function withPacketTag(
  targets: readonly LaneTarget[],
  one: LaneTarget,
  publication: Publication,
): readonly LaneTarget[] {
  return targets.map((target) => (target === one ? { ...target, tag: packetTag(publication) } : target))
}
