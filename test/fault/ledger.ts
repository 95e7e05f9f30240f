/**
 * The account of a fault run: what was sent, what the broker acknowledged, what each receiver got, and what that says
 * about the broker's promises. It trusts nobody: every violation carries the history of its message.
 */
export interface SentMessage {
  readonly topic: string
  /** Position among the messages of its topic, from 1. One publisher per topic. */
  readonly seq: number
  readonly qos: 1 | 2
  acknowledged: boolean
  /** Answered with a Reason Code of 0x80 or more: nothing of that transmission may be kept. */
  refused: boolean
  transmissions: number
  readonly history: string[]
}

/** What a receiver owes: topics it must get, and how strictly. */
export interface Receiver {
  readonly name: string
  readonly kind: 'session' | 'queue'
  readonly wants: (topic: string) => boolean
}

interface Arrival {
  message: SentMessage
  /** Queue only: identity of the stored message and count of deliveries. */
  id: string
  attempt: number
}

export interface Account {
  seed: number
  sent: number
  acknowledged: number
  /** MQTT 5: answered with an error instead. */
  refused: number
  /** By receiver: arrivals, and how many of them were repetitions. */
  received: Record<string, { arrivals: number; duplicates: number }>
  missing: number
  violations: string[]
}

export class Ledger {
  readonly violations: string[] = []
  private readonly messages = new Map<string, SentMessage>()
  private readonly receivers = new Map<Receiver, Arrival[]>()
  private readonly settledIds = new Map<string, SentMessage>()
  private readonly startedAt = performance.now()
  private readonly seed: number
  /** Part of every history line. */
  round = 0

  constructor(seed: number) {
    this.seed = seed
  }

  addReceiver(receiver: Receiver): Receiver {
    this.receivers.set(receiver, [])
    return receiver
  }

  private stamp(what: string): string {
    return `round ${this.round} +${Math.round(performance.now() - this.startedAt)} ms: ${what}`
  }
  note(message: SentMessage, what: string): void {
    message.history.push(this.stamp(what))
  }

  sent(topic: string, seq: number, qos: 1 | 2): SentMessage {
    const message: SentMessage = { topic, seq, qos, acknowledged: false, refused: false, transmissions: 1, history: [] }
    this.messages.set(`${topic} ${seq}`, message)
    return message
  }
  acknowledged(message: SentMessage): void {
    message.acknowledged = true
    this.note(message, 'acknowledged')
  }

  refused(message: SentMessage, code: number): void {
    message.refused = true
    this.note(message, `refused with 0x${code.toString(16)}`)
  }

  /** A message reached a receiver (for a session at QoS 2: after the receiver's half of the exactly-once protocol). */
  arrived(receiver: Receiver, topic: string, seq: number, queue?: { id: string; attempt: number }): void {
    const message = this.messages.get(`${topic} ${seq}`)
    if (!message) {
      this.violation(`${receiver.name} received ${topic} ${seq}, which was never sent`)
      return
    }
    const id = queue?.id ?? ''
    if (!receiver.wants(topic)) this.violation(`${receiver.name} received what it does not want`, message)
    if (queue && this.settledIds.has(id)) {
      this.violation(`${receiver.name} received ${id} although its ack had been confirmed`, message)
    }
    this.note(message, `received by ${receiver.name}${queue ? ` as ${id}, attempt ${queue.attempt}` : ''}`)
    this.receivers.get(receiver)?.push({ message, id, attempt: queue?.attempt ?? 1 })
  }
  /** The queue confirmed a worker's ack: this must never come again. */
  settled(id: string, topic: string, seq: number): void {
    const message = this.messages.get(`${topic} ${seq}`)
    if (!message) return
    this.note(message, `ack of ${id} confirmed`)
    this.settledIds.set(id, message)
  }

  violation(what: string, message?: SentMessage): void {
    const history = message
      ? `\n    ${message.topic} ${message.seq}, QoS ${message.qos}\n    ${message.history.join('\n    ')}`
      : ''
    this.violations.push(`${this.stamp(what)}${history}`)
  }

  /** Messages that a receiver has still to get. */
  outstanding(receiver: Receiver): number {
    const got = new Set(this.receivers.get(receiver)?.map((arrival) => arrival.message))
    let count = 0
    for (const message of this.messages.values()) {
      if (message.acknowledged && receiver.wants(message.topic) && !got.has(message)) count++
    }
    return count
  }
  get size(): number {
    return this.messages.size
  }
  arrivals(receiver: Receiver): number {
    return this.receivers.get(receiver)?.length ?? 0
  }

  /** Settles the account. Call once everything has been drained. */
  account(): Account {
    const all = [...this.messages.values()]
    const received: Account['received'] = {}
    let missing = 0
    for (const [receiver, arrivals] of this.receivers) {
      const got = new Map<SentMessage, Arrival[]>()
      for (const arrival of arrivals) got.set(arrival.message, [...(got.get(arrival.message) ?? []), arrival])
      for (const message of all) {
        if (!message.acknowledged || !receiver.wants(message.topic) || got.has(message)) continue
        missing++
        this.violation(`MISSING: acknowledged, and never received by ${receiver.name}`, message)
      }
      for (const message of got.keys()) {
        // An earlier transmission may have been kept while its acknowledgement was lost.
        if (message.refused && message.transmissions === 1)
          this.violation(`${receiver.name} received a message that was refused`, message)
      }
      if (receiver.kind === 'session') this.checkExactlyOnce(receiver, got)
      else this.checkStoredOnce(receiver, got)
      this.checkOrder(receiver, arrivals, got)
      received[receiver.name] = { arrivals: arrivals.length, duplicates: arrivals.length - got.size }
    }
    for (const message of all) {
      if (!message.acknowledged && !message.refused)
        this.violation('never acknowledged although the broker came back', message)
    }
    const acknowledged = all.filter((message) => message.acknowledged).length
    const refused = all.filter((message) => message.refused).length
    return { seed: this.seed, sent: all.length, acknowledged, refused, received, missing, violations: this.violations }
  }

  private checkExactlyOnce(receiver: Receiver, got: Map<SentMessage, Arrival[]>): void {
    for (const [message, list] of got) {
      if (message.qos === 2 && list.length > 1) {
        this.violation(`${receiver.name} received a QoS 2 message ${list.length} times`, message)
      }
    }
  }

  /** A QoS 2 PUBLISH is one entry of the queue however often it is retransmitted; its deliveries may repeat. */
  private checkStoredOnce(receiver: Receiver, got: Map<SentMessage, Arrival[]>): void {
    for (const [message, list] of got) {
      const ids = new Set(list.map((arrival) => arrival.id))
      if (message.qos === 2 && ids.size > 1) {
        this.violation(`${receiver.name} holds a QoS 2 message ${ids.size} times`, message)
      }
    }
  }

  /**
   * First arrivals of a topic come in the order of sending. In a queue only first attempts count, and a message whose
   * first attempt was lost on its way to the worker (it comes again with attempt 2) may show its retransmitted twin first.
   */
  private checkOrder(receiver: Receiver, arrivals: Arrival[], got: Map<SentMessage, Arrival[]>): void {
    const highest = new Map<string, number>()
    const seen = new Set<SentMessage>()
    for (const { message, attempt } of arrivals) {
      if (attempt > 1 || seen.has(message)) continue
      seen.add(message)
      const last = highest.get(message.topic) ?? 0
      if (message.seq > last) highest.set(message.topic, message.seq)
      else if (!got.get(message)?.some((arrival) => arrival.attempt > 1)) {
        this.violation(`${receiver.name} received ${message.seq} after ${last} of the same topic`, message)
      }
    }
  }
}

/** The account as a person wants to read it. */
export function formatAccount(account: Account, listed = 10): string {
  const { seed, sent, acknowledged, refused } = account
  const lines = [`seed ${seed}: ${sent} sent, ${acknowledged} acknowledged, ${refused} refused`]
  for (const [name, { arrivals, duplicates }] of Object.entries(account.received)) {
    lines.push(`  ${name}: ${arrivals} received, ${duplicates} of them repeated`)
  }
  lines.push(`  ${account.missing} missing, ${account.violations.length} violations`)
  for (const violation of account.violations.slice(0, listed)) lines.push(`- ${violation}`)
  if (account.violations.length > listed) lines.push(`… and ${account.violations.length - listed} more`)
  return lines.join('\n')
}
