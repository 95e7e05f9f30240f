/** A broker the benchmark can start, by the same contract whoever wrote it. */
import type { Transport } from '../load/link.ts'
import type { RedisNeed } from '../scenario.ts'

/** What a scenario asks of the broker beyond its defaults. */
export interface StartOptions {
  /** A bridge rule `b/+/telemetry` → this queue. Only SluiceMQ has queues. */
  readonly queue?: string
  /** What `port` listens for. */
  readonly transport: Transport
  /** For brokers over Redis; default: one node, `appendfsync always`. */
  readonly redis?: RedisNeed
  /** CPU core to run on; undefined: wherever the system likes. */
  readonly core?: number
  /** File a CPU profile is written to when the broker stops. Only SluiceMQ makes one; it runs slower for it. */
  readonly profile?: string
  /** Where the temporary data directory is made. */
  readonly dataRoot: string
}

export interface RunningBroker {
  /** The port the load connects to, on 127.0.0.1. */
  readonly port: number
  /** The port subscribers connect to, where it is another node's. */
  readonly subscriberPort?: number
  /** Processes of the broker. */
  readonly pids: readonly number[]
  readonly redisPids?: readonly number[]
  /** Messages waiting in a work queue, for a broker that has queues. */
  queued?(queue: string): Promise<number>
  /** Stops the process and removes its data. Never rejects. */
  stop(): Promise<void>
}

export interface Peer {
  readonly name: string
  /** Version on this machine, or null when the broker is not installed. */
  version(): Promise<string | null>
  /** How it is configured where that differs from its defaults, for the record. */
  readonly settings: string
  /** Why the peer cannot take part in the scenario of this name, or null. */
  refuses(need: Need): string | null
  start(options: StartOptions): Promise<RunningBroker>
}

/** What a scenario needs that not every broker has. */
export interface Need {
  readonly qos: 0 | 1 | 2
  readonly version: 4 | 5
  readonly transport: Transport
  /** Shared subscriptions. */
  readonly shared: boolean
  /** A durable work queue. */
  readonly queue: boolean
}
