import type { Redis } from 'ioredis'
import { latePackage } from '../base/late-package.ts'

const mqemitterRedis = latePackage<unknown>('mqemitter-redis')

interface Carried {
  readonly topic: string
}

/**
 * mqemitter-redis as the carrier between nodes. Each node listens to one channel of its own, so that Redis looks at no
 * patterns and a publish costs the same however many filters there are (facts about stock parts 41); what must not be lost
 * does not travel here (15) but through the store.
 *
 * @param publishing must fail at once when Redis is away (`enableOfflineQueue: false`): its buffer has no bound (33)
 */
export function redisFabric(publishing: Redis, subscribing: Redis, onError: (error: unknown) => void) {
  const emitter = new (
    mqemitterRedis() as new (
      options: object,
    ) => {
      state: { on(name: 'error', listener: (error: unknown) => void): void }
      on(topic: string, listener: (message: Carried, done: () => void) => void, ready: (error?: unknown) => void): void
      emit(message: Carried, done: (error?: unknown) => void): void
    }
  )({ pubConn: publishing, subConn: subscribing })
  emitter.state.on('error', onError)
  let closed = false
  return {
    listen(channel: string, heard: (message: never) => void): Promise<void> {
      // Lost again before it is done: then there will be another `ready`.
      subscribing.on('ready', () => void subscribing.subscribe(channel).catch(() => {}))
      return new Promise((resolve, reject) => {
        const listener = (message: Carried, done: () => void): void => {
          if (!closed) heard(message as never)
          done()
        }
        emitter.on(channel, listener, (error) => (error instanceof Error ? reject(error) : resolve()))
      })
    },
    send(channel: string, message: object, sent: (error: unknown) => void): void {
      emitter.emit({ ...message, topic: channel }, sent)
    },
    /**
     * Nothing is heard any more. Not mqemitter-redis' own close: it says QUIT to a Redis that may be away, ends the process with
     * the rejection, and waits for an answer that may never come. Who made the connections ends them.
     */
    async close(): Promise<void> {
      closed = true
    },
  }
}
