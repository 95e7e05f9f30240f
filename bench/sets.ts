/** Sets of scenarios, by the name `--set` takes, and the runs a selection leads to. */
import type { Scenario } from './scenario.ts'
import { scenarioOf, scenarios } from './scenarios.ts'
import { peersOf, targets } from './targets.ts'

/** What is measured: a scenario, and the brokers it is limited to (null: every one there is). */
export interface Choice {
  readonly scenario: Scenario
  readonly peers: readonly string[] | null
}

export const SETS = ['core', 'all', 'issue3', 'issue4', 'queues', 'redis'] as const
export type SetName = (typeof SETS)[number]

/** The loads most people ask about; about 25 minutes with every broker. */
const CORE: readonly string[] = [
  'p2p-qos0',
  'p2p-qos1',
  '10to10-qos0',
  '10to10-qos1',
  'mixed-10to10-qos0',
  'mixed-10to10-qos1',
  '10to10-qos2',
  'fanin-10to1-qos0',
  'fanin-10to1-qos1',
  'fanout-1to50-qos0',
  'fanout-1to50-qos1',
  'persistent-10to10-qos1',
  'queue-qos1',
  'ws-p2p-qos0',
  'v5-10to10-qos1',
  'rate-20k-qos0',
  'rate-20k-qos1',
  'connect-storm',
  'idle-memory',
]

/** Work queues. */
const QUEUES: readonly string[] = ['queue-qos1', 'queue-work']

export function choicesOfSet(name: SetName): Choice[] {
  if (name === 'issue3') return issueChoices(3)
  if (name === 'issue4') return issueChoices(4)
  if (name === 'redis') return issueChoices(6)
  const chosen = name === 'all' ? scenarios : (name === 'queues' ? QUEUES : CORE).map(scenarioOf)
  return chosen.map((scenario) => ({ scenario, peers: scenario.peers ?? null }))
}

/** The scenarios an issue has targets for, each with only the brokers its targets name. */
function issueChoices(issue: number): Choice[] {
  const byScenario = new Map<string, Set<string>>()
  for (const target of targets.filter((one) => one.issue === issue)) {
    const peers = byScenario.get(target.scenario) ?? new Set()
    for (const peer of peersOf(target)) peers.add(peer)
    byScenario.set(target.scenario, peers)
  }
  return [...byScenario].map(([name, peers]) => ({ scenario: scenarioOf(name), peers: [...peers] }))
}

/**
 * The choices in groups whose runs take turns: a scenario and those that have it as baseline. A baseline nobody chose
 * is added, limited to the brokers of those that need it.
 */
export function groups(choices: readonly Choice[]): Choice[][] {
  const byBaseline = new Map<string, Choice[]>()
  for (const choice of choices) {
    const key = choice.scenario.baseline ?? choice.scenario.name
    const group = byBaseline.get(key)
    if (group === undefined) byBaseline.set(key, [choice])
    else group.push(choice)
  }
  return [...byBaseline].map(([name, group]) => {
    const sorted = [...group].sort((a, b) => Number(b.scenario.name === name) - Number(a.scenario.name === name))
    if (sorted[0]!.scenario.name === name) return sorted
    const peers = group.some((one) => one.peers === null) ? null : [...new Set(group.flatMap((one) => one.peers!))]
    return [{ scenario: scenarioOf(name), peers }, ...sorted]
  })
}
