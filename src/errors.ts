/**
 * Every error SluiceMQ can raise, in one table: a stable code, its kind, the MQTT 5 reason code it becomes on the
 * wire, whether trying again can help, and what to do about it.
 *
 * Kinds: `protocol` the peer broke MQTT; `refused` legal but declined; `dependency` a store or target is away;
 * `config` a setting is wrong; `invariant` our own bug.
 */
export type ErrorKind = 'protocol' | 'refused' | 'dependency' | 'config' | 'invariant'

export interface ErrorEntry {
  readonly kind: ErrorKind
  /** MQTT 5 reason code, or 0 where the error never reaches the wire. */
  readonly reasonCode: number
  readonly retryable: boolean
  /** What the reader of the message should do. */
  readonly action: string
}

const entry = (kind: ErrorKind, reasonCode: number, retryable: boolean, action: string): ErrorEntry => ({
  kind,
  reasonCode,
  retryable,
  action,
})

export const errorTable = {
  malformed_packet: entry('protocol', 0x81, false, 'Fix the client: the bytes are not a well-formed MQTT packet.'),
  protocol_error: entry('protocol', 0x82, false, 'Fix the client: the packet is not allowed here.'),
  packet_too_large: entry('protocol', 0x95, false, 'Send smaller packets or raise limits.packetBytesMax.'),
  topic_filter_invalid: entry('protocol', 0x8f, false, 'Correct the Topic Filter.'),
  topic_name_invalid: entry('protocol', 0x90, false, 'Correct the Topic Name.'),
  topic_alias_invalid: entry('protocol', 0x94, false, 'Stay within the Topic Alias Maximum of the CONNACK.'),
  receive_maximum_exceeded: entry('protocol', 0x93, false, 'Stay within the Receive Maximum of the CONNACK.'),
  payload_format_invalid: entry('protocol', 0x99, false, 'Send a payload that matches its format indicator.'),
  payload_invalid: entry('refused', 0x99, false, 'Send what the bridge rule named in the message expects.'),
  worker_unknown: entry('refused', 0, false, 'Look at GET /api/v1/workers for those that send heartbeats.'),
  rule_unknown: entry('refused', 0, false, 'Look at GET /api/v1/rules for the names there are.'),
  rule_invalid: entry('refused', 0, false, 'Correct the key named in the message; docs/rules.md has them all.'),
  unsupported_protocol_version: entry('refused', 0x84, false, 'Connect with MQTT 3.1, 3.1.1 or 5.'),
  client_identifier_not_valid: entry('refused', 0x85, false, 'Choose another Client Identifier.'),
  bad_user_name_or_password: entry('refused', 0x86, false, 'Check the credentials.'),
  not_authorized: entry('refused', 0x87, false, 'Ask the operator for permission.'),
  server_unavailable: entry('refused', 0x88, true, 'Try again later.'),
  server_shutting_down: entry('refused', 0x8b, true, 'Connect again after the restart.'),
  bad_authentication_method: entry('refused', 0x8c, false, 'Use an authentication method the broker offers.'),
  keep_alive_timeout: entry('protocol', 0x8d, true, 'Send PINGREQ within the Keep Alive interval.'),
  session_taken_over: entry('refused', 0x8e, false, 'Another connection uses this Client Identifier.'),
  administrative_action: entry('refused', 0x98, false, 'Ask the operator why the session was ended.'),
  quota_exceeded: entry('refused', 0x97, true, 'Slow down, or raise the limit named in the message.'),
  connect_timeout: entry('protocol', 0x82, true, 'Send CONNECT soon after opening the connection.'),
  store_unavailable: entry('dependency', 0x88, true, 'Check the disk under --data-dir; the broker retries.'),
  store_full: entry('dependency', 0x97, true, 'Free space under --data-dir.'),
  store_corrupt: entry('dependency', 0, false, 'Restore the data directory from a backup.'),
  store_version: entry('dependency', 0, false, 'Open the data directory with the version that wrote it.'),
  store_locked: entry('dependency', 0, false, 'Stop the other broker that uses this data directory.'),
  node_fenced: entry('dependency', 0x88, true, 'The node was declared dead by others; it joins again by itself.'),
  node_version: entry('dependency', 0, false, 'Stop all nodes of the other version, then start this one.'),
  node_gone: entry('dependency', 0x88, true, 'Check the other nodes; the question is asked again when one answers.'),
  connection_rate_exceeded: entry('refused', 0x9f, true, 'Connect again later, after a random delay.'),
  queue_unknown: entry('refused', 0, false, 'Look at GET /api/v1/queues; a bridge rule, or settings, make a queue.'),
  job_unknown: entry('refused', 0, false, 'Look at GET /api/v1/queue-jobs: finished jobs are forgotten in time.'),
  nothing_retained: entry('refused', 0, false, 'Set retention.ms of the queue: it keeps what comes from then on.'),
  queue_full: entry('refused', 0x97, true, 'Add workers, or raise the limits of the queue.'),
  queue_qos: entry('refused', 0x83, false, 'Subscribe to $queue/… with QoS 1: PUBACK says that the work is done.'),
  receipt_lost: entry('refused', 0, false, 'The lease ran out; the message may be with another worker.'),
  config_invalid: entry('config', 0, false, 'Correct the config key named in the message.'),
  address_in_use: entry('config', 0, false, 'Stop the other process or choose another port.'),
  invariant: entry('invariant', 0x80, false, 'Report this as a bug, with the stack.'),
} as const satisfies Record<string, ErrorEntry>

export type ErrorCode = keyof typeof errorTable

/** The one error class of the broker; `code` selects its row in `errorTable`. */
export class SluiceError extends Error {
  readonly code: ErrorCode
  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'SluiceError'
    this.code = code
  }
  get kind(): ErrorKind {
    return errorTable[this.code].kind
  }
  get reasonCode(): number {
    return errorTable[this.code].reasonCode
  }
  get retryable(): boolean {
    return errorTable[this.code].retryable
  }
}
