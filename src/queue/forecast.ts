import { erlangC, meanWaitSeconds, serversFor } from './erlang.ts'

/** What was measured of a queue. */
export interface Measured {
  /** W: messages that come, per second. */
  writeRate: number
  /** R: messages that are done, per second, by all workers together. */
  serviceRate: number
  /** D: time a worker takes for one message, in seconds; 0: none was done yet. */
  serviceSeconds: number
  /** G: workers. */
  workers: number
  /** Messages not done. */
  waiting: number
  waitingBytes: number
  /** Bytes that come, per second. */
  writeBytesRate: number
  messagesMax: number
  bytesMax: number
}

/** What follows from it. Infinity: never, or without end. */
export interface Forecast {
  /** C = W / R: above 1 the queue grows. */
  congestion: number
  /** Δt = C·D / W, in seconds: for each message that comes, the time by which the queue falls behind or catches up. */
  deltaSeconds: number
  /** P: messages one worker can do per second, 1 / D. */
  capacityPerWorker: number
  /** P_c = G·P: messages all workers can do per second. */
  capacity: number
  /** ρ = W / P_c: the share of their time workers are busy; 1 and more: they cannot keep up. */
  utilisation: number
  /** Probability that a message has to wait for a worker (Erlang C). */
  waitProbability: number
  /** Mean time a message waits for a worker once the queue is steady, in seconds (Erlang C). */
  waitSeconds: number
  /** Until what waits now is done and the queue only holds what is being worked on, in seconds. */
  drainSeconds: number
  /** Until the queue is full, in seconds. */
  fullSeconds: number
  /** The fewest workers with which a message waits `targetWaitSeconds` on average. */
  workersNeeded: number
}

/**
 * The capacity of a queue. C, Δt, P and P_c are the quantities of the papers on which the broker is built; beside them
 * stands what queueing theory adds (see `erlang.ts`). Pure: the same measurements give the same forecast.
 *
 * Δt is stated as the papers state it. With C = W/R it is D/R: where R counts what all workers do together, D/R is the
 * service time divided by the rate at which messages are done, so that its unit is s²; it compares queues, and is no
 * duration to wait for. `drainSeconds` and `waitSeconds` are.
 *
 * @param targetWaitSeconds mean wait for which `workersNeeded` is asked
 */
export function forecast(measured: Measured, targetWaitSeconds: number): Forecast {
  const { writeRate, serviceRate, serviceSeconds, workers, waiting } = measured
  const congestion = ratio(writeRate, serviceRate)
  const capacityPerWorker = serviceSeconds > 0 ? 1 / serviceSeconds : 0
  const capacity = workers * capacityPerWorker
  const load = writeRate * serviceSeconds
  // Without a measured service time only what was done tells what can be done.
  const able = capacity > 0 ? capacity : serviceRate
  const growth = writeRate - able
  return {
    congestion,
    deltaSeconds: writeRate > 0 && serviceRate > 0 ? (congestion * serviceSeconds) / writeRate : 0,
    capacityPerWorker,
    capacity,
    utilisation: ratio(writeRate, able),
    waitProbability: serviceSeconds > 0 ? erlangC(workers, load) : writeRate > 0 ? 1 : 0,
    waitSeconds: serviceSeconds > 0 ? meanWaitSeconds(workers, load, serviceSeconds) : ratio(writeRate, 0),
    drainSeconds: waiting === 0 ? 0 : growth < 0 ? waiting / -growth : Number.POSITIVE_INFINITY,
    fullSeconds: timeToFull(measured, able),
    workersNeeded: serviceSeconds > 0 ? serversFor(targetWaitSeconds, load, serviceSeconds) : writeRate > 0 ? 1 : 0,
  }
}

function ratio(a: number, b: number): number {
  return a === 0 ? 0 : b === 0 ? Number.POSITIVE_INFINITY : a / b
}

/** By messages or by bytes, whichever limit comes first. */
function timeToFull(
  { writeRate, writeBytesRate, waiting, waitingBytes, messagesMax, bytesMax }: Measured,
  able: number,
): number {
  if (waiting >= messagesMax || waitingBytes >= bytesMax) return 0
  if (writeRate <= able) return Number.POSITIVE_INFINITY
  const growing = 1 - able / writeRate
  const byMessages = (messagesMax - waiting) / (writeRate * growing)
  const byBytes = writeBytesRate > 0 ? (bytesMax - waitingBytes) / (writeBytesRate * growing) : Number.POSITIVE_INFINITY
  return Math.min(byMessages, byBytes)
}
