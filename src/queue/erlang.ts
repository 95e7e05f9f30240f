/**
 * Waiting in line at several servers: the M/M/c queue. Arrivals and service times are taken as memoryless, which real
 * traffic is not quite; the figures say what to expect, not what will be.
 *
 * Sources: A. K. Erlang, "Solution of some problems in the theory of probabilities of significance in automatic telephone
 * exchanges" (1917); L. Kleinrock, "Queueing Systems", volume 1 (1975), section 3.5.
 */

/**
 * Erlang B: the share of arrivals that find all servers busy when nobody waits. By the recursion
 * B(0) = 1, B(n) = a·B(n-1) / (n + a·B(n-1)), which is stable where the formula with factorials overflows.
 * @param servers whole number, 0 or more
 * @param load offered load in erlangs: arrivals per second × service time in seconds
 */
export function erlangB(servers: number, load: number): number {
  let blocked = 1
  for (let n = 1; n <= servers; n++) blocked = (load * blocked) / (n + load * blocked)
  return blocked
}

/**
 * Erlang C: the share of arrivals that have to wait. 1 when the servers cannot keep up (load ≥ servers).
 */
export function erlangC(servers: number, load: number): number {
  if (load <= 0) return 0
  if (load >= servers) return 1
  const blocked = erlangB(servers, load)
  return (servers * blocked) / (servers - load * (1 - blocked))
}

/**
 * Mean time an arrival waits before its service begins: C(c, a)·D / (c - a).
 * @param serviceSeconds mean service time D
 * @returns seconds; Infinity when the servers cannot keep up
 */
export function meanWaitSeconds(servers: number, load: number, serviceSeconds: number): number {
  if (load <= 0) return 0
  if (load >= servers) return Number.POSITIVE_INFINITY
  return (erlangC(servers, load) * serviceSeconds) / (servers - load)
}

/** Servers beyond which nobody looks for an answer. */
const SERVERS_MAX = 1_000_000

/** The fewest servers with which the mean wait is at most `targetSeconds`; Infinity: more than a million. */
export function serversFor(targetSeconds: number, load: number, serviceSeconds: number): number {
  if (load <= 0) return 0
  let blocked = 1
  for (let n = 1; n <= SERVERS_MAX; n++) {
    blocked = (load * blocked) / (n + load * blocked)
    if (load >= n) continue
    const waits = (n * blocked) / (n - load * (1 - blocked))
    if ((waits * serviceSeconds) / (n - load) <= targetSeconds) return n
  }
  return Number.POSITIVE_INFINITY
}
