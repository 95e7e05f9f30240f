import { describe, expect, test } from 'vitest'
import { hasRedis } from '../support/redis-process.ts'
import { runContest } from './contest.ts'

const seed = Number(process.env['FAULT_SEED'] ?? 20_261_120)
const times = Number(process.env['CONTEST_TIMES'] ?? 1)

describe.skipIf(!hasRedis)(`one client id on several nodes in the same turn (seed ${seed})`, () => {
  test(
    'of two connections exactly one survives, 1,000 times, and the session with it',
    async () => {
      const result = await runContest({ seed, nodes: 2, devices: 10, rounds: 100 * times })
      console.log(JSON.stringify(result))
      expect(result.violations).toEqual([])
      expect(result.contests).toBe(1000 * times)
      expect(result.survivors.every((count) => count > 0)).toBe(true)
    },
    180_000 * times,
  )

  test(
    'so does one of three, while the node that serves is killed now and then',
    async () => {
      const result = await runContest({ seed, nodes: 3, devices: 6, rounds: 10 * times, killEvery: 5 })
      console.log(JSON.stringify(result))
      expect(result.violations).toEqual([])
      expect(result.contests).toBe(60 * times)
      expect(result.kills).toBe(2 * times)
    },
    180_000 * times,
  )
})
