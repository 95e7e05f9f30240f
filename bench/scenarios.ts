/** Every scenario of the benchmark, in the order of the report. */
import type { Scenario } from './scenario.ts'
import { latency } from './scenarios/latency.ts'
import { mqttbs } from './scenarios/mqttbs.ts'
import { payloads } from './scenarios/payloads.ts'
import { redis } from './scenarios/redis.ts'
import { scale } from './scenarios/scale.ts'
import { throughput } from './scenarios/throughput.ts'
import { variants } from './scenarios/variants.ts'
import { work } from './scenarios/work.ts'

export const scenarios: readonly Scenario[] = [
  ...throughput,
  ...payloads,
  ...variants,
  ...latency,
  ...scale,
  ...mqttbs,
  ...work,
  ...redis,
]

export function scenarioOf(name: string): Scenario {
  const found = scenarios.find((scenario) => scenario.name === name)
  if (!found) throw new RangeError(`no scenario ${name}`)
  return found
}
