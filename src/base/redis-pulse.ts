/** Finds out that a connection to Redis is dead although nobody said so: a firewall that forgot it, a cable that was pulled. */
import type { Clock } from './clock.ts'
import { breakConnection, type RedisClient } from './redis-connection.ts'

/**
 * Asks for a sign of life each `answerMs`, on connections that listen as well, and ends one that gives none for as long: it connects
 * again by itself. A connection that only listens would otherwise wait for ever, and so would one whose server accepted it and
 * never answered the first question.
 * @param ask false: only looks after the beginning of connections; whoever gives commands sees to their answers
 * @returns stops asking
 */
export function keepPulse(client: RedisClient, clock: Clock, answerMs: number, ask = true): () => void {
  let stopped = false
  let cancel = (): void => {}
  /** Rounds for which the connection has stood without being ready. */
  let unready = 0
  const round = (): void => {
    if (stopped) return
    // A Cluster's client minds its own connections.
    if (client.isCluster) return
    unready = client.status === 'connect' ? unready + 1 : 0
    if (unready > 1) {
      unready = 0
      breakConnection(client)
    }
    if (!ask || client.status !== 'ready') return again()
    const late = clock.after(answerMs, () => breakConnection(client))
    const answered = (): void => {
      late()
      again()
    }
    client.ping().then(answered, answered)
  }
  const again = (): void => {
    if (!stopped) cancel = clock.after(answerMs, round)
  }
  again()
  return () => {
    stopped = true
    cancel()
  }
}
