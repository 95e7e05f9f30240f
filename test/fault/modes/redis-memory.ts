import { GROWTH_BYTES_MAX, runRedisMemory } from '../redis-memory.ts'
import type { FaultOptions } from './options.ts'

/** Nodes killed on the way. */
const KILLS = 4

/** `npm run fault -- redis-memory [--messages 1000000] [--seed N]` */
export async function redisMemoryMode({ seed, messages, report }: FaultOptions): Promise<boolean> {
  report(`${messages} messages through two nodes over Redis, seed ${seed}`)
  const { unowned, ...result } = await runRedisMemory({ seed, messages, kills: KILLS, report })
  report(JSON.stringify(result))
  for (const what of unowned.slice(0, 20)) report(`- ${what}`)
  const grownBytes = result.after.usedBytes - result.before.usedBytes
  report(`${unowned.length} keys without an owner; ${Math.round(grownBytes / 1024)} KiB more than after a tenth`)
  return unowned.length === 0 && grownBytes < GROWTH_BYTES_MAX && result.published === messages
}
