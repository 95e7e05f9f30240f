/** The final account as data (`--json` prints it) and as text. */
import type { Account, MissingMessage, Totals } from './account.ts'
import type { FleetCounts } from './fleet.ts'
import type { RunFacts } from './ledger.ts'

const listedMax = 1_000
const printedMax = 20

/** What only the living process knows; a ledger read later has none of it. */
export interface LiveFacts {
  readonly fleet: FleetCounts
  readonly statusSeen: { readonly online: number; readonly offline: number } | null
  readonly workers: {
    readonly leftovers: number
    readonly foreign: number
    readonly leasesLost: number
    readonly failures: number
  }
}

export interface Summary {
  readonly run: string
  readonly profile: string
  readonly devices: number
  readonly seed: number
  readonly queue: string
  readonly startedAt: string
  readonly endedAt: string | null
  readonly ledger: string
  /** False: no worker took part, so `received` and `missing` of telemetry say nothing. */
  readonly measured: boolean
  readonly telemetry: Totals
  /** QoS 0 messages that did not arrive: allowed. */
  readonly qos0Lost: number
  readonly commands: {
    readonly sent: number
    readonly acknowledged: number
    readonly received: number
    readonly answered: number
    /** Acknowledged commands that did not reach the device, and acknowledged replies that did not reach the desk. */
    readonly missing: number
  }
  readonly latencyMs: { readonly p50: number | null; readonly p99: number | null; readonly max: number | null }
  readonly outOfOrderByDevice: readonly { readonly device: string; readonly messages: number }[]
  /** The first thousand of them. */
  readonly missing: readonly MissingMessage[]
  /** How many acknowledged messages are missing in all. The run failed when this is not 0. */
  readonly missingCount: number
  readonly live: LiveFacts | null
}

/** `live` null: read from a ledger whose process has ended. */
export function summarize(facts: RunFacts, account: Account, ledger: string, live: LiveFacts | null): Summary {
  const { telemetry, command, reply } = account.totals
  // When the simulator itself was killed, a command in its memory is gone: that is not the broker's doing.
  const judgeCommands = live !== null || account.endedAt !== null
  const commandsMissing = judgeCommands ? command.missing + reply.missing : 0
  const listed: MissingMessage[] = []
  for (const message of account.missing()) {
    if (message.kind === 'telemetry' ? !facts.measured : !judgeCommands) continue
    if (listed.push(message) === listedMax) break
  }
  return {
    run: facts.run,
    profile: facts.profile,
    devices: facts.devices,
    seed: facts.seed,
    queue: facts.queue,
    startedAt: facts.startedAt,
    endedAt: account.endedAt === null ? null : new Date(account.endedAt).toISOString(),
    ledger,
    measured: facts.measured,
    telemetry: { ...telemetry },
    qos0Lost: facts.measured ? account.unconfirmedLost() : 0,
    commands: {
      sent: command.sent,
      acknowledged: command.acknowledged,
      received: command.received,
      answered: reply.received,
      missing: commandsMissing,
    },
    latencyMs: {
      p50: rounded(account.latency.percentileMs(0.5)),
      p99: rounded(account.latency.percentileMs(0.99)),
      max: account.latency.count === 0 ? null : rounded(account.latency.maxMs),
    },
    outOfOrderByDevice: account.outOfOrderByDevice(),
    missing: listed,
    missingCount: (facts.measured ? telemetry.missing : 0) + commandsMissing,
    live,
  }
}

/** Name, value, note. */
type Row = [string, string, (string | undefined)?]

/** The account for people. */
export function summaryText(summary: Summary): string {
  const { telemetry, commands, latencyMs, live, measured } = summary
  const rows: Row[] = [
    ['sent', count(telemetry.sent), live === null ? undefined : discardedNote(live)],
    ['acknowledged', count(telemetry.acknowledged), unacknowledgedNote(telemetry)],
  ]
  if (measured) {
    rows.push(
      ['received', count(telemetry.received), qos0Note(summary)],
      ['duplicated', count(telemetry.duplicated), 'deliveries beyond the first'],
      ['out of order', count(telemetry.outOfOrder), orderNote(summary)],
      ['missing', count(telemetry.missing), 'acknowledged and never received'],
    )
  } else {
    rows.push(['received', 'not measured', 'no worker took part'])
  }
  if (telemetry.refused > 0) rows.push(['refused', count(telemetry.refused), 'declined by the broker'])
  if (telemetry.unknown > 0) rows.push(['unknown', count(telemetry.unknown), 'received and never sent'])
  if (commands.sent > 0) {
    const note = `acknowledged ${count(commands.acknowledged)}, missing ${count(commands.missing)}`
    rows.push(['commands', `${count(commands.answered)} of ${count(commands.sent)}`, `answered; ${note}`])
  }
  if (latencyMs.p50 !== null) {
    const note = `p99 ${duration(latencyMs.p99)}, longest ${duration(latencyMs.max)}`
    rows.push(['latency', `p50 ${duration(latencyMs.p50)}`, `${note}; publish to worker`])
  }
  if (live !== null) rows.push(...liveRows(live))
  const lines = [`Account of run ${summary.run}: ${count(summary.devices)} devices, profile ${summary.profile}`, '']
  lines.push(...table(rows), '')
  lines.push(...missingLines(summary), verdict(summary))
  return lines.join('\n')
}

export function count(value: number): string {
  return value.toLocaleString('en-US')
}

function liveRows(live: LiveFacts): Row[] {
  const { workers, statusSeen, fleet } = live
  const rows: Row[] = [['reconnects', count(fleet.reconnects)]]
  if (statusSeen !== null) {
    rows.push(['status seen', `${count(statusSeen.online)} online`, `${count(statusSeen.offline)} offline`])
  }
  if (workers.leasesLost > 0) rows.push(['late acks', count(workers.leasesLost), 'delivered again by the broker'])
  if (workers.leftovers > 0) rows.push(['left over', count(workers.leftovers), 'from other runs, taken off the queue'])
  if (workers.foreign > 0) rows.push(['foreign', count(workers.foreign), 'not made by firmware-sim, given back'])
  return rows
}

function table(rows: readonly Row[]): string[] {
  const nameWidth = Math.max(...rows.map(([name]) => name.length))
  const valueWidth = Math.max(...rows.map(([, value]) => value.length))
  return rows.map(([name, value, note]) => {
    return `  ${name.padEnd(nameWidth)}  ${value.padStart(valueWidth)}${note ? `   ${note}` : ''}`
  })
}

function missingLines(summary: Summary): string[] {
  const lines = summary.missing.slice(0, printedMax).map((message) => {
    const sent = new Date(message.sentAt).toISOString()
    return `  missing: ${message.kind} ${message.sequence} of ${message.device}, QoS ${message.qos}, sent ${sent}`
  })
  const more = summary.missingCount - lines.length
  if (more > 0) lines.push(`  … and ${count(more)} more (the ledger has them all)`)
  return lines
}

function verdict(summary: Summary): string {
  const incomplete = summary.live === null && summary.endedAt === null ? ' The run was cut short.' : ''
  if (summary.missingCount > 0) {
    return `FAILED: ${count(summary.missingCount)} acknowledged messages never arrived.${incomplete}`
  }
  if (!summary.measured) return `No worker took part, so nothing is said about what arrived.${incomplete}`
  return `Every acknowledged message arrived.${incomplete}`
}

function discardedNote(live: LiveFacts): string | undefined {
  const { discarded } = live.fleet
  return discarded > 0 ? `${count(discarded)} more given up by devices with a full buffer` : undefined
}

function unacknowledgedNote(telemetry: Totals): string | undefined {
  return telemetry.unacknowledged > 0 ? `${count(telemetry.unacknowledged)} still unacknowledged at the end` : undefined
}

function qos0Note(summary: Summary): string | undefined {
  return summary.qos0Lost > 0 ? `${count(summary.qos0Lost)} of QoS 0 lost, as QoS 0 may be` : undefined
}

function orderNote(summary: Summary): string | undefined {
  const devices = summary.outOfOrderByDevice.length
  return devices > 0 ? `first deliveries overtaken by a later message, of ${count(devices)} devices` : undefined
}

function duration(ms: number | null): string {
  if (ms === null) return '-'
  return ms < 1_000 ? `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms` : `${(ms / 1_000).toFixed(1)} s`
}

function rounded(ms: number | null): number | null {
  return ms === null ? null : Math.round(ms * 100) / 100
}
