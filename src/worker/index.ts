/**
 * The TypeScript worker SDK: takes messages from a queue of SluiceMQ over HTTP or MQTT. No dependency but Node.
 *
 *     import { createWorker } from 'sluicemq/worker'
 *
 *     const worker = createWorker<{ celsius: number }>({
 *       url: 'http://127.0.0.1:8080',
 *       queue: 'telemetry',
 *       concurrency: 10,
 *       handler: async (message) => save(message.clientId, message.json().celsius),
 *     })
 *     process.once('SIGTERM', () => worker.stop())
 */
import type { WorkerOptions } from './options.ts'
import { Worker } from './worker.ts'

export type { Envelope, EnvelopeFailure, EnvelopeProperties } from '../bridge/envelope.ts'
export { BrokerError, LeaseLostError, RejectError, RetryError } from './errors.ts'
export { type FakeMessage, FakeQueue, type FakeResult } from './fake-queue.ts'
export { WorkerMessage } from './message.ts'
export type { Middleware, WorkerOptions, WorkerStats } from './options.ts'
export type { PayloadSchema, StandardSchema } from './schema.ts'
export type { EntryResult, NackBody, WorkerFacts, WorkSource } from './source.ts'
export { Worker } from './worker.ts'

/** Starts a worker at once. It goes on, whatever happens to the broker, until `stop` or its signal. */
export function createWorker<T = unknown>(options: WorkerOptions<T>): Worker<T> {
  return new Worker(options)
}
