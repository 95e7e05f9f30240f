import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { builtInProfiles } from '../../firmware-sim/profile.ts'
import { Simulation } from '../../firmware-sim/simulation.ts'
import type { Summary } from '../../firmware-sim/summary.ts'
import { BrokerProcesses } from '../support/broker-processes.ts'

const brokerMain = fileURLToPath(new URL('../../dist/src/main.js', import.meta.url))
const simulatorMain = fileURLToPath(new URL('../../dist/firmware-sim/main.js', import.meta.url))
const never = new AbortController().signal

let directory: string
let broker: BrokerProcesses
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'firmware-sim-e2e-'))
  broker = await BrokerProcesses.make(brokerMain, join(directory, 'data'))
  await broker.start()
})
afterEach(async () => {
  await broker.stop()
  rmSync(directory, { recursive: true })
})

interface Finished {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

function simulator(...args: string[]): { child: ChildProcess; finished: Promise<Finished> } {
  const child = spawn(process.execPath, [simulatorMain, ...args, '--http', broker.addresses.http, '--json'])
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (text) => {
    stdout += text
  })
  child.stderr.on('data', (text) => {
    stderr += text
  })
  return { child, finished: once(child, 'close').then(([code]) => ({ code: code as number | null, stdout, stderr })) }
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 10))
}

describe('a fleet against the broker', { timeout: 120_000 }, () => {
  it('accounts for every message and command', async () => {
    const { finished } = simulator(
      ...['run', '--url', broker.addresses.mqtt, '--ledger', directory],
      ...['--devices', '10', '--rate', '50', '--qos', '0,1,2', '--messages', '60', '--seed', '1'],
    )
    const { code, stdout, stderr } = await finished
    expect(stderr).not.toMatch(/error/i)
    const summary = JSON.parse(stdout) as Summary
    expect(summary.telemetry).toMatchObject({
      sent: 600,
      acknowledged: 360,
      received: 600,
      duplicated: 0,
      outOfOrder: 0,
      missing: 0,
      unknown: 0,
    })
    expect(summary.commands.answered).toBe(summary.commands.sent)
    expect(code).toBe(0)
  })

  it('misses nothing acknowledged when the broker is killed with SIGKILL [invariant 1]', {
    timeout: 120_000,
  }, async () => {
    const profile = builtInProfiles['telemetry']!
    const simulation = new Simulation({
      url: broker.addresses.mqtt,
      http: broker.addresses.http,
      devices: 10,
      profile: {
        ...profile,
        commands: { ...profile.commands!, perMinute: 60 },
        connection: { ...profile.connection, backoff: { minMs: 50, maxMs: 200, factor: 2, jitter: 0.5 } },
      },
      ratePerSecond: 50,
      qos: [1, 2],
      protocolVersion: 4,
      until: { messages: 200 },
      queue: 'telemetry',
      workers: 2,
      leaseMs: 2_000,
      ledgerDir: directory,
      seed: 1,
      connectRate: 500,
      patienceMs: 30_000,
      keepSessions: false,
    })
    await simulation.open()
    await simulation.connect(never)
    const producing = simulation.produce(never)
    const { telemetry } = simulation.ledger.account.totals
    await until(() => telemetry.sent >= 700)
    await broker.kill()
    await until(() => simulation.fleet.counts().buffered >= 50)
    await broker.start()
    await producing
    await simulation.settle(never)
    await simulation.drain(never)
    await simulation.close(true)
    const summary = simulation.summary()
    expect(summary.missing).toEqual([])
    expect(summary).toMatchObject({ missingCount: 0, telemetry: { sent: 2_000, acknowledged: 2_000, received: 2_000 } })
    expect(summary.commands.answered).toBe(summary.commands.sent)
  })

  it('is accounted for after a kill of the simulator itself', async () => {
    const running = simulator(
      ...['run', '--url', broker.addresses.mqtt, '--ledger', join(directory, 'ledger')],
      ...['--devices', '10', '--rate', '50', '--qos', '1,2', '--lease', '1s', '--duration', '1h'],
    )
    const account = async (...args: string[]): Promise<Finished> =>
      simulator('account', '--ledger', join(directory, 'ledger'), ...args).finished
    let ended: Finished | null = null
    void running.finished.then((result) => {
      ended = result
    })
    await until(async () => {
      expect(ended, 'the simulator goes on until it is killed').toBeNull()
      const { code, stdout } = await account()
      return code !== 2 && (JSON.parse(stdout) as Summary).telemetry.received > 200
    })
    running.child.kill('SIGKILL')
    await running.finished
    const { code, stdout } = await account('--drain', '--patience', '30s')
    const summary = JSON.parse(stdout) as Summary
    expect(summary.telemetry.acknowledged).toBeGreaterThan(200)
    expect(summary).toMatchObject({ missingCount: 0, endedAt: null, telemetry: { missing: 0, unknown: 0 } })
    expect(code).toBe(0)
  })
})
