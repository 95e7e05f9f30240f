/** What `load.js` prints: one JSON object on one line. Rates cover the measured seconds only, not the warm-up. */

export interface TrafficResult {
  readonly mode: 'flood' | 'rate'
  readonly elapsedSeconds: number
  readonly sentPerSecond: number
  readonly acknowledgedPerSecond: number
  readonly receivedPerSecond: number
  /** Over the whole run, warm-up and the wait for stragglers included. */
  readonly totals: {
    readonly sent: number
    readonly acknowledged: number
    readonly refused: number
    readonly received: number
    /** PUBLISH packets received with DUP. */
    readonly duplicates: number
    /**
     * Receptions still owed when nothing more came: for QoS 1 and 2 counted from acknowledged messages, for mode rate
     * from sent ones. Null for QoS 0 floods, where megabytes are still under way when the clock stops.
     */
    readonly missing: number | null
  }
  /** PUBLISH payload, in bytes. */
  readonly payloadBytes: number
  /**
   * Mode rate: from the moment a message was due to its arrival at the subscriber; without subscribers, to its PUBACK
   * (QoS 1) or PUBCOMP (QoS 2).
   */
  readonly latencyMicroseconds: Latency | null
  /** Mode rate: how late the generator itself was. The instrument's own error. */
  readonly sendLagMicroseconds: Latency | null
  /** What the disk alone took for a commit's writes right after the run (disk-flush.ts), where the scenario asks for it. */
  readonly diskFlushMicroseconds?: Latency
  readonly broker: ProcessCost | null
  /** The broker's Redis server, where there is one. */
  readonly redis?: ProcessCost | null
  readonly load: ProcessCost
  /** Cores that other processes kept busy meanwhile; null where the system does not tell. */
  readonly othersCores: number | null
  /** Null without background subscriptions. */
  readonly background: Background | null
}

/** Subscriptions that stood before the traffic began. */
export interface Background {
  readonly subscriptions: number
  /** From the first SUBSCRIBE sent to the last SUBACK received. */
  readonly subscribesPerSecond: number
  /**
   * Growth of the broker's resident memory from the connections alone to a while after the last SUBACK, divided by
   * `subscriptions`. Garbage not yet collected is in it.
   */
  readonly bytesPerSubscription: number | null
}

export interface Latency {
  readonly count: number
  readonly p50: number
  readonly p90: number
  readonly p99: number
  readonly p999: number
  readonly max: number
}

export interface ProcessCost {
  /** Cores kept busy on average: 1 is one core all the time. */
  readonly cores: number
  /** CPU µs per message received (acknowledged when there is no subscriber). */
  readonly cpuMicrosecondsPerMessage: number
  readonly residentBytes: number
  readonly peakResidentBytes: number
}

export interface HoldResult {
  readonly mode: 'hold'
  readonly connections: number
  readonly connectSeconds: number
  readonly connectionsPerSecond: number
  /** Of the broker, before the first connection and after the hold. Null without a broker process to look at. */
  readonly residentBytesBefore: number | null
  readonly residentBytesAfter: number | null
  readonly bytesPerConnection: number | null
  /** Broker CPU ms per accepted connection. */
  readonly cpuMillisecondsPerConnection: number | null
  /** With `connectRate`: from the moment a connection was due to its CONNACK. */
  readonly latencyMicroseconds: Latency | null
}

/** What a program of the benchmark that needs no broker measured; made from its output, not printed by `load.js`. */
export interface ProgramResult {
  readonly mode: 'program'
  /** Figures by the names the metrics know. */
  readonly figures: Readonly<Record<string, number>>
}

export type LoadResult = TrafficResult | HoldResult | ProgramResult
