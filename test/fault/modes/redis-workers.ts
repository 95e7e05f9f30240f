import { runRedisWorkers } from '../redis-workers/run.ts'
import type { FaultOptions } from './options.ts'

/** `npm run fault -- redis-workers [--rounds 100] [--seed N]`. */
export async function redisWorkersMode({ seed, rounds, report }: FaultOptions): Promise<boolean> {
  report(`killing nodes, Redis and workers that know only Redis: ${rounds} rounds, seed ${seed}`)
  const { violations, ...account } = await runRedisWorkers({ seed, rounds, report })
  report(JSON.stringify(account))
  for (const violation of violations.slice(0, 20)) report(violation)
  report(`${violations.length} violations`)
  return violations.length === 0 && account.left === 0
}
