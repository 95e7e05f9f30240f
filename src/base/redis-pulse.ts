/** Finds out that a connection to Redis is dead although nobody said so: a firewall that forgot it, a cable that was pulled. */
import { Cluster, type Redis } from 'ioredis'
import type { Clock } from './clock.ts'
import { breakConnection, type RedisClient } from './redis-connection.ts'

/**
 * Asks for a sign of life each `answerMs`, on connections that listen as well, and ends one that gives none for as long: it connects
 * again by itself. A connection that only listens would otherwise wait for ever.
 * @returns stops asking
 */
export function keepPulse(client: RedisClient, clock: Clock, answerMs: number): () => void {
  let stopped = false
  let cancel = (): void => {}
  const ask = (): void => {
    cancel = clock.after(answerMs, () => {
      if (stopped) return
      // A Cluster's client minds its own connections.
      if (client instanceof Cluster || client.status !== 'ready') return ask()
      const late = clock.after(answerMs, () => breakConnection(client))
      const answered = (): void => {
        late()
        if (!stopped) ask()
      }
      ping(client).then(answered, answered)
    })
  }
  ask()
  return () => {
    stopped = true
    cancel()
  }
}

async function ping(client: Redis): Promise<void> {
  await client.ping()
}
