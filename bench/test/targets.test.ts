import { describe, expect, test } from 'vitest'
import type { Metric } from '../metrics.ts'
import { scenarioOf, scenarios } from '../scenarios.ts'
import { choicesOfSet, groups } from '../sets.ts'
import { parseSettings } from '../settings.ts'
import { type Cell, OURS, type Row } from '../summary.ts'
import { targets, verdictsOf } from '../targets.ts'

/** A row as `rowsOf` makes it, of one value per broker. */
function row(name: string, values: Readonly<Record<string, number | null>>, metric?: Metric): Row {
  const scenario = scenarioOf(name)
  const figure = metric ?? scenario.metrics[0]!
  const ours = values[OURS] ?? null
  const cells = Object.entries(values).map(([peer, value]): Cell => {
    const ratio = ours === null || value === null ? null : figure.better === 'higher' ? ours / value : value / ours
    return { peer, value, least: value, most: value, advantage: peer === OURS ? null : ratio }
  })
  return { scenario, metric: figure, cells }
}

const issue4 = (...rows: Row[]) => verdictsOf(rows).filter(({ target }) => target.issue === 4)

describe('the judgement', () => {
  test('a ratio is met at exactly the factor and says the figures it comes from', () => {
    const met = issue4(row('10to10-qos1', { sluicemq: 2_000_000, mosquitto: 100_000 }))
    expect(met).toMatchObject([{ met: true, wanted: 'at least 20 × mosquitto' }])
    expect(met[0]!.reached).toBe('20.00 × (2,000,000 to 100,000 /s)')
    expect(issue4(row('10to10-qos1', { sluicemq: 1_999_000, mosquitto: 100_000 }))).toMatchObject([{ met: false }])
  })

  test('against the better of two, the better one counts', () => {
    const [verdict] = issue4(row('p2p-qos0-64kb', { sluicemq: 130, nats: 100, mosquitto: 120 }))
    expect(verdict).toMatchObject({ met: false })
    expect(verdict!.reached).toMatch(/^1\.08 × .* by mosquitto/)
    expect(issue4(row('p2p-qos0-64kb', { sluicemq: 130, nats: 100, mosquitto: null }))).toMatchObject([{ met: null }])
  })

  test('a latency must be no longer than theirs', () => {
    expect(issue4(row('rate-20k', { sluicemq: 90, mosquitto: 100 }))).toMatchObject([{ met: true }])
    expect(issue4(row('rate-20k', { sluicemq: 110, mosquitto: 100 }))).toMatchObject([{ met: false }])
  })

  test('a share is taken of our own baseline', () => {
    const baseline = row('p2p-qos0', { sluicemq: 1_000 })
    const shares = (tls: number) =>
      issue4(baseline, row('tls-p2p-qos0', { sluicemq: tls })).filter(
        ({ target }) => target.scenario === 'tls-p2p-qos0',
      )
    expect(shares(400)).toMatchObject([{ met: true, reached: '40 % (400 of 1,000 /s)' }])
    expect(shares(399)).toMatchObject([{ met: false }])
    expect(issue4(row('tls-p2p-qos0', { sluicemq: 400 }))).toMatchObject([{ met: null, reached: null }])
  })

  test('an absolute figure must not exceed its bound, whichever of the scenario it is', () => {
    const memory = scenarioOf('million-subs').metrics.find(({ name }) => name === 'memory per subscription')!
    const verdict = (bytes: number) => issue4(row('million-subs', { sluicemq: bytes }, memory))[0]
    expect(verdict(300)).toMatchObject({ met: true })
    expect(verdict(301)).toMatchObject({ met: false, wanted: 'at most 300 bytes' })
  })

  test('a broker that was not there leaves the target open instead of met', () => {
    expect(issue4(row('connect-storm', { sluicemq: 9_000 }))).toMatchObject([{ met: null, reached: null }])
  })
})

describe('the sets', () => {
  test('scenario names are unique, baselines and targets name scenarios, figures and shares that exist', () => {
    expect(new Set(scenarios.map(({ name }) => name)).size).toBe(scenarios.length)
    for (const { baseline } of scenarios) if (baseline !== undefined) scenarioOf(baseline)
    for (const { scenario: name, metric, bound } of targets) {
      const scenario = scenarioOf(name)
      if (metric !== undefined) expect(scenario.metrics.map((one) => one.name)).toContain(metric)
      if ('share' in bound) expect(scenario.baseline).toBeDefined()
    }
  })

  test('issue4 measures every target of the issue with the brokers it names, and their baselines', () => {
    const measured = new Map(
      groups(choicesOfSet('issue4')).flatMap((group) => group.map(({ scenario, peers }) => [scenario.name, peers])),
    )
    for (const { issue, scenario, bound } of targets) {
      if (issue !== 4) continue
      const peers = measured.get(scenario)
      expect(peers).toContain(OURS)
      if ('better' in bound) for (const peer of bound.better) expect(peers).toContain(peer)
    }
    expect(measured.get('thousand-subs')).toEqual([OURS])
    expect(measured.get('ws-p2p-qos0')).toEqual([OURS])
  })

  test('redis measures every target of issue 6 with our nodes over Redis, and only brokers that have one', () => {
    const { groups: measured, peers, run } = parseSettings(['--set', 'redis'], '/tmp', 'x')
    const choices = new Map(measured.flat().map(({ scenario, peers: names }) => [scenario.name, names]))
    const wanted = targets.filter(({ issue }) => issue === 6)
    expect(wanted.length).toBeGreaterThanOrEqual(6)
    for (const { scenario, bound } of wanted) {
      expect(choices.get(scenario)).toContain('sluicemq-redis')
      if ('better' in bound) expect(choices.get(scenario)).toContain('aedes-redis')
    }
    expect(choices.get('redis-filters-10')).toEqual(['sluicemq-redis'])
    expect(peers.map(({ name }) => name)).toEqual(['sluicemq-redis', 'aedes-redis'])
    expect(run.seconds).toBe(2)
  })

  test('over Redis a ratio is about our nodes there', () => {
    const persistent = row('redis-persistent-qos1', {})
    const cells: Cell[] = [
      { peer: 'sluicemq-redis', value: 80_000, least: 1, most: 1, advantage: null },
      { peer: 'aedes-redis', value: 10_000, least: 1, most: 1, advantage: 8 },
    ]
    expect(verdictsOf([{ ...persistent, cells }])).toMatchObject([{ met: true, wanted: 'at least 8 × aedes-redis' }])
  })

  test('a baseline comes first in the group of those that need it', () => {
    const [group] = parseSettings(['--scenario', 'tls-p2p-qos0,ws-p2p-qos0'], '/tmp', 'x').groups
    expect(group!.map(({ scenario }) => scenario.name)).toEqual(['p2p-qos0', 'tls-p2p-qos0', 'ws-p2p-qos0'])
  })

  test('issue4 has five runs of two seconds unless told otherwise', () => {
    expect(parseSettings(['--set', 'issue4'], '/tmp', 'x')).toMatchObject({ runs: 5, run: { seconds: 2 } })
    expect(parseSettings(['--set', 'issue4', '--runs', '1'], '/tmp', 'x').runs).toBe(1)
    expect(parseSettings([], '/tmp', 'x')).toMatchObject({ runs: 3, run: { seconds: 4 } })
    expect(() => parseSettings(['--set', 'none'], '/tmp', 'x')).toThrow(/core, all, issue3, issue4/)
  })
})
