/** The Markdown report of one benchmark. */
import type { Machine } from './machine.ts'
import type { Peer } from './peers/peer.ts'
import type { RunSettings } from './run.ts'
import { type Cell, figure, oursIn, type Row } from './summary.ts'
import type { Verdict } from './targets.ts'

export interface Report {
  readonly date: string
  readonly machine: Machine
  readonly settings: RunSettings
  readonly runs: number
  readonly peers: readonly { readonly peer: Peer; readonly version: string }[]
  readonly rows: readonly Row[]
  readonly notes: readonly string[]
  readonly verdicts: readonly Verdict[]
  /** Where SluiceMQ spent its time, by scenario; empty without profiles. */
  readonly profiles: ReadonlyMap<string, string>
}

export function markdown(report: Report): string {
  const { machine, settings, peers, rows, notes, verdicts, profiles } = report
  const commit = machine.commit === null ? '' : `, commit ${machine.commit}`
  const lines = [
    `# Benchmark of ${report.date}`,
    '',
    `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB, ${machine.system}, Node ${machine.node}${commit}.`,
    `Data on ${machine.dataFileSystem}. Load average before the first run: ${machine.loadAverage.toFixed(2)}.`,
    `Median of ${report.runs} interleaved runs of ${settings.seconds} s after ${settings.warmupSeconds} s of warm-up; ` +
      `${settings.pin ? 'broker on core 0, load generator on core 1' : 'nothing pinned'}; 16-byte payloads where nothing else is said; loopback.`,
    '',
    ...peers.map(({ peer, version }) => `- **${peer.name}** ${version}: ${peer.settings}`),
    '',
    ...table(rows, peers),
    '',
    `In brackets: how many times better SluiceMQ is (above 1 is better, for throughput and for cost alike).`,
  ]
  for (const issue of [...new Set(verdicts.map(({ target }) => target.issue))]) {
    lines.push(
      '',
      `## Targets of issue ${issue}`,
      '',
      ...judgement(verdicts.filter((one) => one.target.issue === issue)),
    )
  }
  if (settings.profiles !== null) {
    lines.push('', '## Profiles', '', 'SluiceMQ ran under the profiler: the figures above are lower than without.', '')
    lines.push('Self time of its main thread where a target was not met, of the time it was not idle:', '')
    for (const [scenario, line] of profiles) lines.push(`- \`${scenario}\`: ${line}`)
  }
  if (notes.length > 0) lines.push('', '## Notes', '', ...notes.map((note) => `- ${note.replaceAll('\n', ' ')}`))
  return `${lines.join('\n')}\n`
}

function judgement(verdicts: readonly Verdict[]): string[] {
  const met = verdicts.filter((verdict) => verdict.met).length
  const open = verdicts.filter((verdict) => verdict.met === null).length
  return [
    `${met} of ${verdicts.length} met${open === 0 ? '' : `, ${open} not measured`}.`,
    '',
    '| | scenario | figure | wanted | reached |',
    '|---|---|---|---|---|',
    ...verdicts.map(({ target, metric, wanted, reached, met }) => {
      const word = met === null ? '**not measured**' : met ? 'met' : '**not met**'
      return `| ${word} | \`${target.scenario}\` | ${metric} | ${wanted} | ${reached ?? '–'} |`
    }),
  ]
}

function table(rows: readonly Row[], peers: Report['peers']): string[] {
  const names = peers.map(({ peer }) => peer.name)
  const lines = [`| scenario | figure | ${names.join(' | ')} |`, `|---|---|${names.map(() => '---:|').join('')}`]
  let last = ''
  for (const { scenario, metric, cells } of rows) {
    const title = scenario.name === last ? '' : `\`${scenario.name}\`<br>${scenario.title}`
    last = scenario.name
    lines.push(
      `| ${title} | ${metric.name}, ${metric.unit} | ${cells.map((cell) => text(cell, oursIn(scenario))).join(' | ')} |`,
    )
  }
  return lines
}

function text(cell: Cell, ours: string): string {
  if (cell.value === null) return '–'
  const value = cell.peer === ours ? `**${figure(cell.value)}**` : figure(cell.value)
  return cell.advantage === null ? value : `${value} (${cell.advantage.toFixed(1)})`
}
