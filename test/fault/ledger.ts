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
  /** A will: nobody is acknowledged; `acknowledged` says that it is owed. */
  readonly will: boolean
  transmissions: number
  readonly history: string[]
}

/** What a receiver owes: topics it must get, and how strictly. */
export interface Receiver {
  readonly name: string
  /**
   * `session`: in order, QoS 2 once. `group`: the members of a shared subscription together, QoS 2 once. `wills`: once each.
   * `queue`: stored once; deliveries may repeat.
   */
  readonly kind: 'session' | 'queue' | 'group' | 'wills'
  readonly wants: (topic: string) => boolean
}

interface Arrival {
  message: SentMessage
  /** Queue only: identity of the stored message and count of deliveries. */
  id: string
  attempt: number
  /** See `arrived`. */
  mayBeLate: boolean
}

export interface Account {
  seed: number
  sent: number
  acknowledged: number
  /** MQTT 5: answered with an error instead. */
  refused: number
  /** By receiver: arrivals, and how many of them were repetitions. */
  received: Record<string, { arrivals: number; duplicates: number }>
  /** Wills that had to be published. */
  wills: number
  /** Messages whose attempts were used up. */
  dead: number
  missing: number
  violations: string[]
}

export class Ledger {
  readonly violations: string[] = []
  private readonly messages = new Map<string, SentMessage>()
  private readonly receivers = new Map<Receiver, Arrival[]>()
  private readonly settledIds = new Map<string, SentMessage>()
  /** Entries of queues whose ack may or may not have counted. */
  private readonly maybeSettledIds = new Set<string>()
  /** Entries found among the dead letters, with how often they were found settled there. */
  private readonly buriedIds = new Map<string, { message: SentMessage; settled: boolean }>()
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

  sent(topic: string, seq: number, qos: 1 | 2, will = false): SentMessage {
    const about = { topic, seq, qos, will, transmissions: 1, history: [] }
    const message: SentMessage = { ...about, acknowledged: false, refused: false }
    this.messages.set(`${topic} ${seq}`, message)
    return message
  }
  acknowledged(message: SentMessage): void {
    message.acknowledged = true
    this.note(message, 'acknowledged')
  }

  /** The client took its will back. */
  withdrawn(message: SentMessage): void {
    message.refused = true
    this.note(message, 'withdrawn')
  }

  refused(message: SentMessage, code: number): void {
    message.refused = true
    this.note(message, `refused with 0x${code.toString(16)}`)
  }

  /**
   * A message reached a receiver (for a session at QoS 2: after the receiver's half of the exactly-once protocol).
   *
   * `mayBeLate`: a pull was cut off shortly before. What it held comes back when the broker notices, with its attempt not
   * counted, and a pull that came sooner has been given later messages. The simulation checks this order to the message.
   */
  arrived(
    receiver: Receiver,
    topic: string,
    seq: number,
    queue?: { id: string; attempt: number; mayBeLate?: boolean },
  ): void {
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
    this.receivers
      .get(receiver)
      ?.push({ message, id, attempt: queue?.attempt ?? 1, mayBeLate: queue?.mayBeLate ?? false })
  }
  /** An ack was sent and no answer came. */
  maybeSettled(id: string): void {
    this.maybeSettledIds.add(id)
  }

  /** A dead letter was handed out. */
  buried(id: string, topic: string, seq: number, attempt: number): void {
    const message = this.messages.get(`${topic} ${seq}`)
    if (!message) return this.violation(`the dead letter ${topic} ${seq} was never sent`)
    this.note(message, `dead letter ${id}, attempt ${attempt}`)
    if (this.settledIds.has(id)) this.violation(`${id} is a dead letter although its ack had been confirmed`, message)
    const before = this.buriedIds.get(id)
    if (before?.settled) this.violation(`the dead letter ${id} came again after its ack was confirmed`, message)
    else if (!before) this.buriedIds.set(id, { message, settled: false })
  }

  /** The ack of a dead letter was confirmed. */
  buriedSettled(id: string): void {
    const letter = this.buriedIds.get(id)
    if (letter) letter.settled = true
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
      if (receiver.kind === 'queue') this.checkStoredOnce(receiver, got)
      else this.checkExactlyOnce(receiver, got)
      if (receiver.kind === 'session' || receiver.kind === 'queue') this.checkOrder(receiver, arrivals, got)
      received[receiver.name] = { arrivals: arrivals.length, duplicates: arrivals.length - got.size }
    }
    for (const message of all) {
      if (!message.acknowledged && !message.refused && !message.will)
        this.violation('never acknowledged although the broker came back', message)
    }
    this.checkDone()
    const published = all.filter(({ will }) => !will)
    const acknowledged = published.filter((message) => message.acknowledged).length
    const refused = published.filter((message) => message.refused).length
    const wills = all.filter((message) => message.will && message.acknowledged).length
    const dead = this.buriedIds.size
    const counts = { sent: published.length, acknowledged, refused, wills, dead, missing }
    return { seed: this.seed, ...counts, received, violations: this.violations }
  }

  /** The queues are empty: whatever was handed out was acknowledged or is a dead letter. */
  private checkDone(): void {
    const ids = new Map<string, SentMessage>()
    for (const arrivals of this.receivers.values()) for (const { id, message } of arrivals) if (id) ids.set(id, message)
    for (const [id, message] of ids)
      if (!this.settledIds.has(id) && !this.maybeSettledIds.has(id) && !this.buriedIds.has(id))
        this.violation(`${id} is neither acknowledged nor among the dead letters`, message)
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
    for (const { message, attempt, mayBeLate } of arrivals) {
      if (attempt > 1 || seen.has(message)) continue
      seen.add(message)
      const last = highest.get(message.topic) ?? 0
      if (message.seq > last) highest.set(message.topic, message.seq)
      else if (!mayBeLate && !got.get(message)?.some((arrival) => arrival.attempt > 1)) {
        this.violation(`${receiver.name} received ${message.seq} after ${last} of the same topic`, message)
      }
    }
  }
}

/** The account as a person wants to read it. */
export function formatAccount(account: Account, listed = 10): string {
  const { seed, sent, acknowledged, refused } = account
  const { wills, dead } = account
  const lines = [
    `seed ${seed}: ${sent} sent, ${acknowledged} acknowledged, ${refused} refused; ${wills} wills owed, ${dead} dead letters`,
  ]
  for (const [name, { arrivals, duplicates }] of Object.entries(account.received)) {
    lines.push(`  ${name}: ${arrivals} received, ${duplicates} of them repeated`)
  }
  lines.push(`  ${account.missing} missing, ${account.violations.length} violations`)
  for (const violation of account.violations.slice(0, listed)) lines.push(`- ${violation}`)
  if (account.violations.length > listed) lines.push(`… and ${account.violations.length - listed} more`)
  return lines.join('\n')
}
