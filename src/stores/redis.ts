/** The Redis adapter of the store: shared by any number of nodes. */
import type { Store } from '../store.ts'
import { RedisStore, type RedisStoreOptions } from './redis/store.ts'

export function redisStore(options: RedisStoreOptions): Store {
  return new RedisStore(options)
}
