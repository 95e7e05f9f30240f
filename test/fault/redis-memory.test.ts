import { describe, expect, test } from 'vitest'
import { hasRedis } from '../support/redis-process.ts'
import { GROWTH_BYTES_MAX, runRedisMemory } from './redis-memory.ts'

const seed = Number(process.env['FAULT_SEED'] ?? 20_261_120)
const messages = Number(process.env['FAULT_MESSAGES'] ?? 30_000)

describe.skipIf(!hasRedis)(`Redis after ${messages} messages (seed ${seed})`, () => {
  test('holds nothing that nobody owns, and no more than after a tenth of them', async () => {
    const result = await runRedisMemory({ seed, messages, kills: 1 })
    console.log(JSON.stringify({ ...result, unowned: result.unowned.slice(0, 20) }))
    expect(result.unowned).toEqual([])
    expect(result.published).toBe(messages)
    expect(result.delivered).toBeGreaterThan(messages)
    expect(result.worked).toBeGreaterThan(messages / 10)
    expect(result.after.usedBytes - result.before.usedBytes).toBeLessThan(GROWTH_BYTES_MAX)
  }, 300_000)
})
