/**
 * The arithmetic of a run: what was sent, acknowledged and received, and what follows from it.
 *
 * Everything that is counted belongs to a *stream*: one device's telemetry, the commands to one device, or its
 * replies. Within a stream each message has a sequence number that is sent once. Only messages that still owe
 * something are kept, so memory grows with what is under way and not with the length of the run.
 *
 *     sent ──▶ acknowledged ──▶ received      (the last two in either order; then the message is forgotten)
 *
 * A message that is acknowledged and never received is **missing**: that is what a broker must not do.
 */
import { LatencyHistogram } from './latency.ts'

export type StreamKind = 'telemetry' | 'command' | 'reply'
export type QoS = 0 | 1 | 2

/** How a message came to its receiver. */
export interface Handover {
  /** When the broker gave it out, ms since 1970: what order is judged by when several workers take turns. */
  readonly handedOutAt: number
  /** Number of the batch it came in; within a batch the position decides. */
  readonly batch: number
  /** 1: first delivery. Redeliveries are late by nature and not judged for order. */
  readonly attempt: number
}

/** What is kept in a ledger and added up here. Times are ms since 1970. */
export interface Recorder {
  /** Announces a stream before its first message. */
  open(stream: number, kind: StreamKind, device: string, topic: string): void
  sent(stream: number, sequence: number, qos: QoS, time: number): void
  acknowledged(stream: number, sequence: number, time: number): void
  /** The broker declined the message with a reason code (MQTT 5): it owes nothing. */
  refused(stream: number, sequence: number, time: number): void
  received(stream: number, sequence: number, time: number, handover: Handover): void
  /** The run came to its regular end. */
  ended(time: number): void
}

export interface Totals {
  sent: number
  acknowledged: number
  refused: number
  /** Distinct messages that arrived. */
  received: number
  /** Deliveries beyond the first of a message. */
  duplicated: number
  /** First deliveries handed out after a later message of the same stream. */
  outOfOrder: number
  /** Arrived and never sent, as far as the ledger knows. */
  unknown: number
  /** Acknowledged and not received, now. */
  missing: number
  /** QoS 1 and 2 sent and neither acknowledged nor refused, now. */
  unacknowledged: number
}

export interface MissingMessage {
  readonly kind: StreamKind
  readonly device: string
  readonly topic: string
  readonly sequence: number
  readonly qos: QoS
  readonly sentAt: number
}

interface Outstanding {
  readonly qos: QoS
  readonly sentAt: number
  acknowledged: boolean
  refused: boolean
  received: boolean
}

interface Stream {
  readonly kind: StreamKind
  readonly device: string
  readonly topic: string
  readonly totals: Totals
  readonly outstanding: Map<number, Outstanding>
  highestSent: number
  /** The received message with the highest sequence number, and how it came. */
  latest: { sequence: number; handover: Handover } | null
  outOfOrder: number
}

const emptyTotals = (): Totals => ({
  sent: 0,
  acknowledged: 0,
  refused: 0,
  received: 0,
  duplicated: 0,
  outOfOrder: 0,
  unknown: 0,
  missing: 0,
  unacknowledged: 0,
})

export class Account implements Recorder {
  readonly totals: Readonly<Record<StreamKind, Totals>> = {
    telemetry: emptyTotals(),
    command: emptyTotals(),
    reply: emptyTotals(),
  }
  /** From publish to a worker, telemetry only, first deliveries only. */
  readonly latency = new LatencyHistogram()
  /** ms since 1970; null while the run goes on, or when it was cut short. */
  endedAt: number | null = null
  readonly #streams: Stream[] = []
  readonly #telemetryByDevice = new Map<string, number>()

  open(stream: number, kind: StreamKind, device: string, topic: string): void {
    if (kind === 'telemetry') this.#telemetryByDevice.set(device, stream)
    this.#streams[stream] = {
      kind,
      device,
      topic,
      totals: this.totals[kind],
      outstanding: new Map(),
      highestSent: 0,
      latest: null,
      outOfOrder: 0,
    }
  }

  /** The telemetry stream of a device, or undefined when the run has no such device. */
  telemetryOf(device: string): number | undefined {
    return this.#telemetryByDevice.get(device)
  }

  sent(streamId: number, sequence: number, qos: QoS, time: number): void {
    const stream = this.#stream(streamId)
    const { totals, outstanding } = stream
    if (sequence > stream.highestSent) stream.highestSent = sequence
    outstanding.set(sequence, { qos, sentAt: time, acknowledged: false, refused: false, received: false })
    totals.sent += 1
    if (qos > 0) totals.unacknowledged += 1
  }

  acknowledged(stream: number, sequence: number, _time: number): void {
    const { totals, outstanding } = this.#stream(stream)
    const message = outstanding.get(sequence)
    if (message === undefined || message.qos === 0 || message.acknowledged || message.refused) return
    message.acknowledged = true
    totals.acknowledged += 1
    totals.unacknowledged -= 1
    if (message.received) outstanding.delete(sequence)
    else totals.missing += 1
  }

  refused(stream: number, sequence: number, _time: number): void {
    const { totals, outstanding } = this.#stream(stream)
    const message = outstanding.get(sequence)
    if (message === undefined || message.qos === 0 || message.acknowledged || message.refused) return
    message.refused = true
    totals.refused += 1
    totals.unacknowledged -= 1
  }

  received(streamId: number, sequence: number, time: number, handover: Handover): void {
    const stream = this.#stream(streamId)
    const { totals, outstanding } = stream
    const message = outstanding.get(sequence)
    if (message === undefined && sequence > stream.highestSent) {
      totals.unknown += 1
      return
    }
    if (message === undefined || message.received) {
      totals.duplicated += 1
      return
    }
    message.received = true
    totals.received += 1
    if (stream.kind === 'telemetry') this.latency.record(Math.max(0, time - message.sentAt))
    if (message.acknowledged) totals.missing -= 1
    if (message.acknowledged || message.qos === 0) outstanding.delete(sequence)
    this.#judgeOrder(stream, sequence, handover)
  }

  ended(time: number): void {
    this.endedAt = time
  }

  /** Every message acknowledged and not received, oldest stream first. */
  *missing(): Generator<MissingMessage> {
    for (const { kind, device, topic, outstanding } of this.#streams.values()) {
      for (const [sequence, message] of outstanding) {
        if (message.acknowledged && !message.received) {
          yield { kind, device, topic, sequence, qos: message.qos, sentAt: message.sentAt }
        }
      }
    }
  }

  /** Devices some of whose telemetry arrived out of order, with how many messages did. */
  outOfOrderByDevice(): { device: string; messages: number }[] {
    return this.#streams
      .filter((stream) => stream.kind === 'telemetry' && stream.outOfOrder > 0)
      .map(({ device, outOfOrder }) => ({ device, messages: outOfOrder }))
  }

  /** Messages of QoS 0 sent and not received so far: allowed to be lost, so never missing. */
  unconfirmedLost(): number {
    let lost = 0
    for (const { outstanding } of this.#streams.values()) {
      for (const message of outstanding.values()) if (message.qos === 0 && !message.received) lost += 1
    }
    return lost
  }

  #judgeOrder(stream: Stream, sequence: number, handover: Handover): void {
    const { latest } = stream
    if (latest === null || sequence > latest.sequence) {
      stream.latest = { sequence, handover }
      return
    }
    if (handover.attempt > 1) return
    const sameBatch = handover.batch === latest.handover.batch
    if (sameBatch || handover.handedOutAt > latest.handover.handedOutAt) {
      stream.outOfOrder += 1
      stream.totals.outOfOrder += 1
    }
  }

  #stream(id: number): Stream {
    const stream = this.#streams[id]
    if (stream === undefined) throw new Error(`the ledger mentions stream ${id} before opening it`)
    return stream
  }
}
