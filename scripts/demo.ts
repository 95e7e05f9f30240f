/**
 * `npm run demo`: a broker, twenty devices and two workers. The broker is killed with SIGKILL twice in the middle, the
 * second time while it holds messages that no worker has; at the end every acknowledged message is accounted for. Exit
 * code 1 when one is missing.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { pause } from '../firmware-sim/clock.ts'
import { builtInProfiles, type Profile } from '../firmware-sim/profile.ts'
import { Simulation } from '../firmware-sim/simulation.ts'
import { count, summaryText } from '../firmware-sim/summary.ts'
import { BrokerProcess } from './broker-process.ts'

const devices = 20
const ratePerSecond = 10
const leaseMs = 3_000
const telemetry = builtInProfiles['telemetry']!
/** As `telemetry`, with more commands and less patience on the way back. */
const profile: Profile = {
  ...telemetry,
  commands: { ...telemetry.commands!, perMinute: 12 },
  connection: { ...telemetry.connection, backoff: { minMs: 100, maxMs: 1_500, factor: 2, jitter: 0.5 } },
}
const never = new AbortController().signal

const colour = process.stdout.isTTY && process.env['NO_COLOR'] === undefined
const bold = (text: string): string => (colour ? `\x1b[1m${text}\x1b[0m` : text)
const dim = (text: string): string => (colour ? `\x1b[2m${text}\x1b[0m` : text)
const red = (text: string): string => (colour ? `\x1b[31m${text}\x1b[0m` : text)
const green = (text: string): string => (colour ? `\x1b[32m${text}\x1b[0m` : text)

const begunAt = performance.now()

function say(text: string, detail = ''): void {
  const seconds = ((performance.now() - begunAt) / 1_000).toFixed(1).padStart(5)
  process.stdout.write(`${dim(`${seconds} s`)}  ${text}${detail === '' ? '' : `  ${dim(detail)}`}\n`)
}

/** A random number of ms between the two. */
function between(low: number, high: number): number {
  return Math.round(low + (high - low) * Math.random())
}

async function demo(directory: string): Promise<number> {
  const dataDir = join(directory, 'data')
  const broker = new BrokerProcess(fileURLToPath(new URL('../src/main.js', import.meta.url)), ['--data-dir', dataDir])
  process.once('exit', () => void broker.kill())
  process.once('SIGINT', () => process.exit(130))
  process.once('SIGTERM', () => process.exit(143))

  const startMs = await broker.start()
  say(`The broker is ready after ${Math.round(startMs)} ms.`, `${broker.addresses.mqtt}, pid ${broker.pid}`)
  const simulation = new Simulation({
    url: broker.addresses.mqtt,
    http: broker.addresses.http,
    devices,
    profile,
    ratePerSecond,
    qos: [1, 2],
    protocolVersion: 4,
    until: { durationMs: 3_600_000 },
    queue: 'telemetry',
    workers: 2,
    leaseMs,
    ledgerDir: join(directory, 'ledger'),
    seed: between(0, 0xffffffff),
    connectRate: 200,
    patienceMs: leaseMs + 12_000,
    keepSessions: false,
  })
  await simulation.open()
  await simulation.connect(never)
  say(
    `${devices} devices are connected, half with QoS 1, half with QoS 2; 2 workers pull from the queue "telemetry".`,
    `${devices * ratePerSecond} messages a second`,
  )

  const enough = new AbortController()
  const producing = simulation.produce(enough.signal)
  await pause(between(2_500, 5_000))
  await killAndRestart(broker, simulation, 'first')
  await pause(between(1_000, 2_000))
  simulation.workers.rest()
  say('The workers take a break: what is acknowledged from here on is in the broker and nowhere else.')
  await pause(between(2_500, 4_500))
  await killAndRestart(broker, simulation, 'second')
  simulation.workers.resume()
  say('The workers are back.')
  await pause(3_000)
  enough.abort()
  await producing

  say('The devices stop. What is under way may still arrive.', standing(simulation))
  await simulation.settle(never)
  await simulation.drain(never)
  say('The queue is empty.', standing(simulation))
  await simulation.close(true)
  await broker.kill()

  const summary = simulation.summary()
  const passed = summary.missingCount === 0 && summary.telemetry.unknown === 0
  process.stdout.write(`\n${summaryText(summary)}\n\n`)
  process.stdout.write(
    passed
      ? green(bold('The broker was killed twice and kept every promise it had made.\n'))
      : red(bold('The broker broke a promise: it acknowledged messages that never arrived.\n')),
  )
  return passed ? 0 : 1
}

async function killAndRestart(broker: BrokerProcess, simulation: Simulation, which: string): Promise<void> {
  const { telemetry } = simulation.ledger.account.totals
  const { pid } = broker
  await broker.kill()
  say(`${red(bold(`kill -9 ${pid}`))} The ${which} kill.`, standing(simulation))
  say(
    `The broker owes ${count(telemetry.missing)} acknowledged messages to the workers; ` +
      `devices hold ${count(telemetry.unacknowledged)} without an acknowledgement and go on measuring.`,
  )
  await pause(between(800, 1_800))
  const { buffered } = simulation.fleet.counts()
  const startMs = await broker.start()
  const backAt = performance.now()
  say(`The broker is back after ${Math.round(startMs)} ms, from the same directory.`, `${count(buffered)} buffered`)
  while (simulation.fleet.counts().up < devices || !simulation.fleet.idle) {
    if (performance.now() - backAt > 20_000) break
    await pause(20)
  }
  const { up } = simulation.fleet.counts()
  const seconds = ((performance.now() - backAt) / 1_000).toFixed(1)
  say(`${up} of ${devices} devices are back and have sent what they held.`, `${seconds} s, with backoff and jitter`)
}

function standing(simulation: Simulation): string {
  const { telemetry } = simulation.ledger.account.totals
  return (
    `sent ${count(telemetry.sent)}, acknowledged ${count(telemetry.acknowledged)}, ` +
    `received ${count(telemetry.received)}`
  )
}

const directory = mkdtempSync(join(tmpdir(), 'sluicemq-demo-'))
process.stdout.write(`\n${bold('SluiceMQ demo: an acknowledgement is a receipt, even when the broker dies.')}\n\n`)
try {
  process.exitCode = await demo(directory)
} catch (error) {
  process.stderr.write(`\nThe demo could not go on: ${(error as Error).message}\n`)
  process.exitCode = 3
}
if (process.exitCode === 0) rmSync(directory, { recursive: true, force: true })
else process.stdout.write(`The data directory and the ledger are kept in ${directory}\n`)
