/** Starts the Redis over which the nodes of all tests run. It keeps nothing on disk: no test of these is about its end. */

import { RedisProcess } from '../support/redis-process.ts'
import { DATABASES } from '../support/two-nodes.ts'

export default async function setup(): Promise<() => Promise<void>> {
  const redis = await RedisProcess.start({ appendfsync: 'no', args: ['--databases', String(DATABASES)] })
  process.env['TEST_REDIS_URL'] = redis.url
  return () => redis.stop()
}
