import { describe, expect, test } from 'vitest'
import { hasRedis } from '../support/redis-process.ts'
import { type Fault, runNodesFault } from './nodes-fault.ts'

const seed = Number(process.env['FAULT_SEED'] ?? 20_261_120)
const nodeTimeoutMs = Number(process.env['FAULT_NODE_TIMEOUT_MS'] ?? 0)
const rounds = Number(process.env['FAULT_ROUNDS'] ?? 2)

describe.skipIf(!hasRedis)('three processes over one Redis', () => {
  test.each<Fault>(['kill-node', 'kill-redis', 'roll', 'partition'])(
    `nothing acknowledged is missing after: %s (seed ${seed})`,
    async (fault) => {
      const account = await runNodesFault({
        seed,
        rounds,
        faults: [fault],
        ...(nodeTimeoutMs > 0 && { nodeTimeoutMs }),
        report: (line) => console.log(line),
      })
      console.log(JSON.stringify({ ...account, violations: account.violations.slice(0, 3) }))
      expect(account.acknowledged).toBeGreaterThan(50)
      expect(account.violations).toEqual([])
      expect(account.missing).toBe(0)
    },
    180_000 + rounds * 10_000,
  )
})
