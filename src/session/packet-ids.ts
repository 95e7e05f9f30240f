/**
 * Packet Identifiers of messages to a client follow from the sequence number of the message in its session, so that a
 * message keeps its identifier across reconnects and crashes without one being stored, and a QoS 2 message that is sent
 * again is recognised by the receiver [v5 MQTT-4.3.3-2] [v5 MQTT-4.4.0-1].
 */
const IDS = 65_535

export function packetIdOf(seq: number): number {
  return 1 + (seq % IDS)
}

/** The sequence number in `base .. base + 65534` that has this Packet Identifier. */
export function seqOf(packetId: number, base: number): number {
  const ahead = packetId - 1 - (base % IDS)
  return base + (ahead < 0 ? ahead + IDS : ahead)
}

/** Sequence numbers under way at once must lie within this span for their identifiers to differ. */
export const SEQ_SPAN_MAX = IDS
