/** Thrown by a handler: the message can never be worked, so it goes straight to the dead letters. */
export class RejectError extends Error {
  constructor(reason: string, options?: ErrorOptions) {
    super(reason, options)
    this.name = 'RejectError'
  }
}

/** Thrown by a handler: try again after `delayMs` instead of the queue's backoff. Any error with `delayMs` does the same. */
export class RetryError extends Error {
  readonly delayMs: number
  constructor(reason: string, delayMs: number, options?: ErrorOptions) {
    super(reason, options)
    this.name = 'RetryError'
    this.delayMs = delayMs
  }
}

/** The broker answered with an error, or not at all (`status` 0). The worker tries again by itself. */
export class BrokerError extends Error {
  /** HTTP status; 0: no answer. */
  readonly status: number
  /** The broker's error code, e.g. `queue_unknown`; `unreachable` without an answer. */
  readonly code: string
  constructor(status: number, code: string, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'BrokerError'
    this.status = status
    this.code = code
  }
  /** False: the request itself is wrong, sending it again cannot help. */
  get retryable(): boolean {
    return this.status === 0 || this.status >= 500 || this.status === 408 || this.status === 429
  }
}

/** The lease of a message ran out before it was answered for: another worker may have it now. */
export class LeaseLostError extends Error {
  readonly receipt: string
  constructor(receipt: string) {
    super('the lease ran out before the message was answered for; another worker may have it')
    this.name = 'LeaseLostError'
    this.receipt = receipt
  }
}

/** What the queue is told about a handler that threw. */
export function nackOf(
  receipt: string,
  error: unknown,
): { receipt: string; reason: string; delayMs?: number; reject?: true } {
  const reason = asError(error).message
  if (error instanceof RejectError) return { receipt, reason, reject: true }
  const delayMs = (error as { delayMs?: unknown } | null)?.delayMs
  return typeof delayMs === 'number' && delayMs >= 0
    ? { receipt, reason, delayMs: Math.ceil(delayMs) }
    : { receipt, reason }
}

export function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}
