/**
 * The benchmark: `npm run bench`. Every scenario against every broker found, one process under load at a time, the
 * brokers taking turns (A B A B), so that a slow minute of the machine falls on all of them alike.
 */
import { appendFile, mkdir, writeFile } from 'node:fs/promises'
import os from 'node:os'
import { dirname } from 'node:path'
import { chart } from './chart.ts'
import { machine } from './machine.ts'
import type { Peer } from './peers/peer.ts'
import { profileLine, readProfile } from './profile.ts'
import { markdown } from './report.ts'
import { profileFile, type RunRecord, run } from './run.ts'
import { needOf } from './scenario.ts'
import { scenarioOf, scenarios } from './scenarios.ts'
import type { Choice } from './sets.ts'
import { type BenchSettings, parseSettings, USAGE } from './settings.ts'
import { figure, notesOf, type Row, rowsOf, withShares } from './summary.ts'
import { type Verdict, verdictsOf } from './targets.ts'

type Present = { readonly peer: Peer; readonly version: string }

const started = new Date()

async function bench(settings: BenchSettings): Promise<void> {
  const peers = await present(settings)
  const facts = await machine(settings.run.dataRoot)
  const date = started.toISOString().slice(0, 10)
  const keep = await writer(settings.out)
  await keep({
    type: 'machine',
    date: started.toISOString(),
    machine: facts,
    settings: { runs: settings.runs, seconds: settings.run.seconds, warmupSeconds: settings.run.warmupSeconds },
    pinned: settings.run.pin,
    peers: peers.map(({ peer, version }) => ({ name: peer.name, version, settings: peer.settings })),
  })
  const runs: RunRecord[] = []
  const rows: Row[] = []
  for (const group of settings.groups) {
    const pairs = group.flatMap((choice) => able(choice, peers).map((one) => ({ ...one, scenario: choice.scenario })))
    for (let number = 1; number <= settings.runs; number++) {
      for (const { scenario, peer, version } of pairs) {
        if (scenario.program && number > 1) continue
        const record = await run(scenario, peer, version, number, settings.run)
        runs.push(record)
        await keep(record)
        print(`  ${scenario.name}, ${peer.name} #${number}: ${oneLine(record, scenario.metrics)}`)
      }
    }
    const names = peers.map(({ peer }) => peer.name)
    const groupRows = withShares(group.flatMap(({ scenario }) => rowsOf(scenario, names, runs)))
    rows.push(...groupRows)
    for (const { scenario, metric, cells } of groupRows) {
      await keep({ type: 'summary', scenario: scenario.name, metric: metric.name, unit: metric.unit, cells })
    }
  }
  const verdicts = verdictsOf(rows)
  for (const verdict of verdicts) await keep({ type: 'verdict', ...verdict })
  const report = markdown({
    date,
    machine: facts,
    settings: settings.run,
    runs: settings.runs,
    peers,
    rows,
    notes: notesOf(runs),
    verdicts,
    profiles: await profilesOf(verdicts, settings),
  })
  print(`\n${report}`)
  if (settings.out === null) return
  await writeFile(`${settings.out}.md`, report)
  await writeFile(`${settings.out}.svg`, chart(rows, `SluiceMQ benchmark, ${date}, ${facts.cpu}, ${facts.cores} cores`))
  print(`written: ${settings.out}.jsonl, .md, .svg`)
}

/** The brokers that can and shall take part, in order; says who is left out and why. */
function able({ scenario, peers: only }: Choice, peers: readonly Present[]): Present[] {
  print(`\n${scenario.name}: ${scenario.title}`)
  return peers.filter(({ peer }) => {
    if (only !== null && !only.includes(peer.name)) return false
    const reason = peer.refuses(needOf(scenario))
    if (reason) print(`  ${peer.name}: left out, ${reason}`)
    return reason === null
  })
}

/** A line for each scenario that missed a target, from the profile of its last run. */
async function profilesOf(verdicts: readonly Verdict[], settings: BenchSettings): Promise<Map<string, string>> {
  const lines = new Map<string, string>()
  const { profiles } = settings.run
  if (profiles === null) return lines
  for (const { target, met } of verdicts) {
    const scenario = scenarioOf(target.scenario)
    if (met !== false || scenario.program) continue
    const file = profileFile(profiles, scenario, settings.runs)
    const line = await readProfile(file).then(
      (profile) => profileLine(profile),
      (error: Error) => `no profile, ${error.message}`,
    )
    lines.set(scenario.name, line)
  }
  return lines
}

async function present(settings: BenchSettings): Promise<Present[]> {
  const found: Present[] = []
  for (const peer of settings.peers) {
    const version = await peer.version()
    if (version !== null) found.push({ peer, version })
    else if (settings.peersNamed) throw new Error(`${peer.name} is not installed here`)
    else print(`${peer.name}: not found here, left out`)
  }
  return found
}

async function writer(out: string | null): Promise<(line: object) => Promise<void>> {
  if (out === null) return async () => {}
  await mkdir(dirname(out), { recursive: true })
  await writeFile(`${out}.jsonl`, '')
  return (line) => appendFile(`${out}.jsonl`, `${JSON.stringify(line)}\n`)
}

function oneLine(record: RunRecord, metrics: readonly Row['metric'][]): string {
  const { result, error } = record
  const values = result
    ? metrics.map((metric) => {
        const value = metric.of(result)
        return value === null ? '' : `${metric.name} ${figure(value)} ${metric.unit}`
      })
    : []
  return [...values, ...(error === null ? [] : [`FAILED: ${error}`])].filter(Boolean).join(', ')
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}

// Ending on a signal runs the exit handlers, which take the broker and the load generator along.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130))

try {
  const stamp = started.toISOString().slice(0, 16).replace(':', '')
  const settings = parseSettings(process.argv.slice(2), os.tmpdir(), `bench/results/${stamp}`)
  if (settings.list) for (const scenario of scenarios) print(`${scenario.name.padEnd(24)}${scenario.title}`)
  else await bench(settings)
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n\n${USAGE}`)
  process.exitCode = 2
}
