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
  readonly latencyMicroseconds: Latency | null
  /** Mode rate: how late the generator itself was. The instrument's own error. */
  readonly sendLagMicroseconds: Latency | null
  readonly broker: ProcessCost | null
  readonly load: ProcessCost
  /** Cores that processes other than these two kept busy meanwhile; null where the system does not tell. */
  readonly othersCores: number | null
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
}

export type LoadResult = TrafficResult | HoldResult
