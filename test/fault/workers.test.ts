/** Killing brokers and workers, in its short form; `npm run fault -- workers` is the long one. */
import { expect, test } from 'vitest'
import { hasRedis } from '../support/redis-process.ts'
import { formatWorkersAccount, runWorkers } from './workers/run.ts'

const story = 'brokers and workers that are killed lose nothing, and what devices send again reaches workers once'

async function account(rounds: number, nodes: number): Promise<void> {
  const seed = Number(process.env['FAULT_SEED'] ?? Date.now() % 1_000_000_000)
  const lines: string[] = []
  const found = await runWorkers({ seed, rounds, nodes, report: (line) => lines.push(line) })
  const told = `${formatWorkersAccount(found)}\n${lines.join('\n')}\nreplay with FAULT_SEED=${seed}`
  expect(found.violations, told).toEqual([])
  expect(found.acknowledged, told).toBeGreaterThan(100)
  expect(found.retransmitted, told).toBeGreaterThan(0)
  expect(found.deadLettered, told).toBeGreaterThan(0)
}

test(`one node: ${story}`, () => account(6, 1), 180_000)

test.skipIf(!hasRedis)(`two nodes over Redis: ${story}, on whatever node`, () => account(5, 2), 180_000)
