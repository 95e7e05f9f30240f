#!/usr/bin/env node
/**
 * firmware-sim: a simulated device fleet that proves what arrived.
 *
 * Exit codes: 0 everything acknowledged arrived; 1 something acknowledged is missing; 2 wrong usage; 3 the run could
 * not take place (no broker, no queue); 130 interrupted twice.
 */
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command, CommanderError, Option } from 'commander'
import type { QoS } from './account.ts'
import { accountOf, drainInto } from './account-command.ts'
import { parseCount, parseDurationMs, parseQos, parseRate } from './arguments.ts'
import type { ProtocolVersion } from './link.ts'
import { loadProfile, UsageError } from './profile.ts'
import { showProgress } from './progress.ts'
import { CannotRunError, Simulation, type SimulationOptions } from './simulation.ts'
import { type Summary, summaryText } from './summary.ts'

const defaultLedgerDir = join(tmpdir(), 'firmware-sim')

interface RunFlags {
  url: string
  http: string
  devices: number
  profile: string
  rate?: number
  qos: QoS[]
  messages?: number
  duration?: number
  protocol: string
  queue: string
  workers: number
  lease: number
  ledger: string
  seed?: number
  prefix?: string
  connectRate: number
  patience: number
  keepSessions?: true
  json?: true
}

const program = new Command('firmware-sim')
  .description('Simulates a fleet of devices against an MQTT broker and accounts for every message.')
  .exitOverride()
  .showHelpAfterError('(firmware-sim help shows every option)')

program
  .command('run', { isDefault: true })
  .description('run a fleet, take its messages off the queue, print the account')
  .option('--url <url>', 'where devices connect', 'mqtt://127.0.0.1:1883')
  .option('--http <url>', 'where workers pull', 'http://127.0.0.1:8080')
  .option('--devices <n>', 'number of devices', parseCount(1, 100_000), 10)
  .option('--profile <name or file>', 'telemetry, or a JSON file', 'telemetry')
  .option('--rate <n>', 'messages per second and device (default: the profile says)', parseRate)
  .option('--qos <list>', '0, 1, 2, or a list such as 1,2 that devices share out', parseQos, [1] as QoS[])
  .addOption(new Option('--messages <n>', 'messages per device').argParser(parseCount(1, 1e9)).conflicts('duration'))
  .option('--duration <time>', 'how long devices go on (default 30s)', parseDurationMs)
  .addOption(new Option('--protocol <version>', 'MQTT 3.1, 3.1.1 or 5').choices(['3', '4', '5']).default('4'))
  .option('--queue <name>', 'the queue the telemetry is bridged to', 'telemetry')
  .option('--workers <n>', 'workers that pull from the queue; 0: none', parseCount(0, 1_000), 2)
  .option('--lease <time>', 'how long a worker may hold a message', parseDurationMs, 10_000)
  .option('--ledger <dir>', 'directory of the ledger files', defaultLedgerDir)
  .option('--seed <n>', 'makes the run repeatable', parseCount(0, 0xffffffff))
  .option('--prefix <text>', 'beginning of the client identifiers (default: one of its own for each run)')
  .option('--connect-rate <n>', 'connections per second while the fleet comes up', parseCount(1, 100_000), 500)
  .option('--patience <time>', 'how long to wait without any progress before the account', parseDurationMs, 20_000)
  .option('--keep-sessions', 'leave the sessions in the broker afterwards')
  .option('--json', 'print the account as one JSON object')
  .action(async (flags: RunFlags) => {
    process.exitCode = await run(optionsOf(flags), flags.json === true)
  })

program
  .command('account')
  .description('add up the newest ledger of a directory, also after the simulator itself was killed')
  .requiredOption('--ledger <dir or file>', 'directory of the ledger files, or one of them')
  .option('--drain', 'first take what is left in the queue')
  .option('--http <url>', 'where to drain', 'http://127.0.0.1:8080')
  .option('--patience <time>', 'how long to wait without any progress while draining', parseDurationMs, 20_000)
  .option('--json', 'print the account as one JSON object')
  .action(async (flags: { ledger: string; drain?: true; http: string; patience: number; json?: true }) => {
    if (flags.drain) await drainInto(flags.ledger, flags.http, flags.patience)
    process.exitCode = report(await accountOf(flags.ledger), flags.json === true)
  })

function optionsOf(flags: RunFlags): SimulationOptions {
  return {
    url: flags.url,
    http: flags.http,
    devices: flags.devices,
    profile: loadProfile(flags.profile),
    ...(flags.rate === undefined ? {} : { ratePerSecond: flags.rate }),
    qos: flags.qos,
    protocolVersion: Number(flags.protocol) as ProtocolVersion,
    until: flags.messages === undefined ? { durationMs: flags.duration ?? 30_000 } : { messages: flags.messages },
    queue: flags.queue,
    workers: flags.workers,
    leaseMs: flags.lease,
    ledgerDir: flags.ledger,
    seed: flags.seed ?? Math.floor(Math.random() * 0x100000000),
    ...(flags.prefix === undefined ? {} : { prefix: flags.prefix }),
    connectRate: flags.connectRate,
    patienceMs: flags.patience,
    keepSessions: flags.keepSessions === true,
  }
}

/** The first interrupt ends production and still gives an account; the second ends the process. */
function interruptSignal(): AbortSignal {
  const controller = new AbortController()
  const interrupt = (): void => {
    if (controller.signal.aborted) process.exit(130)
    controller.abort()
    process.stderr.write('\nstopping: waiting for what is under way (once more to leave at once)\n')
  }
  process.on('SIGINT', interrupt)
  process.on('SIGTERM', interrupt)
  return controller.signal
}

async function run(options: SimulationOptions, json: boolean): Promise<number> {
  const never = new AbortController().signal
  const interrupted = interruptSignal()
  const simulation = new Simulation(options)
  await simulation.open()
  const endProgress = showProgress(simulation, process.stderr)
  try {
    await simulation.connect(interrupted)
    await simulation.produce(interrupted)
    await simulation.settle(never)
    await simulation.drain(never)
  } finally {
    await endProgress()
    await simulation.close(true)
  }
  return report(simulation.summary(), json)
}

function report(summary: Summary, json: boolean): number {
  const text = json ? JSON.stringify(summary) : `${summaryText(summary)}\nledger: ${summary.ledger}`
  process.stdout.write(`${text}\n`)
  return summary.missingCount > 0 ? 1 : 0
}

try {
  await program.parseAsync()
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : 2
  } else if (error instanceof UsageError) {
    process.stderr.write(`error: ${error.message}\n`)
    process.exitCode = 2
  } else if (error instanceof CannotRunError) {
    process.stderr.write(`error: ${error.message}\n`)
    process.exitCode = 3
  } else throw error
}
