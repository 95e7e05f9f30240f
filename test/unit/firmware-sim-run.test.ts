import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { accountOf, drainInto } from '../../firmware-sim/account-command.ts'
import { builtInProfiles, type Profile } from '../../firmware-sim/profile.ts'
import { CannotRunError, Simulation, type SimulationOptions } from '../../firmware-sim/simulation.ts'
import { type Summary, summaryText } from '../../firmware-sim/summary.ts'
import { FakeBroker } from './firmware-sim-fake.ts'

const never = new AbortController().signal
const telemetry = builtInProfiles['telemetry']!
/** Devices that come back within milliseconds. */
const profile: Profile = {
  ...telemetry,
  commands: { ...telemetry.commands!, perMinute: 600 },
  connection: { ...telemetry.connection, backoff: { minMs: 5, maxMs: 20, factor: 2, jitter: 0.5 } },
}

let directory: string
let broker: FakeBroker
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'firmware-sim-test-'))
  broker = await FakeBroker.start()
})
afterEach(async () => {
  await broker.stop()
  rmSync(directory, { recursive: true })
})

function simulation(changes: Partial<SimulationOptions> = {}): Simulation {
  return new Simulation({
    url: broker.url,
    http: broker.http,
    devices: 3,
    profile,
    ratePerSecond: 200,
    qos: [1],
    protocolVersion: 4,
    until: { messages: 40 },
    queue: 'telemetry',
    workers: 2,
    leaseMs: 10_000,
    ledgerDir: directory,
    seed: 1,
    connectRate: 1_000,
    patienceMs: 15_000,
    keepSessions: false,
    ...changes,
  })
}

async function runToEnd(sim: Simulation, whileProducing?: () => Promise<void>): Promise<Summary> {
  await sim.open()
  await sim.connect(never)
  await Promise.all([sim.produce(never), whileProducing?.()])
  await sim.settle(never)
  await sim.drain(never)
  await sim.close(true)
  return sim.summary()
}

/** Resolves when the condition holds; the test's own time limit is the bound. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2))
}

describe('a run', () => {
  // The stand-in speaks no MQTT 5.
  it.each([3, 4] as const)('accounts for every message and command, MQTT protocol level %i', async (version) => {
    const summary = await runToEnd(simulation({ qos: [0, 1, 2], protocolVersion: version }))
    expect(summary.telemetry).toMatchObject({ sent: 120, acknowledged: 80, received: 120, duplicated: 0, missing: 0 })
    expect(summary.commands.sent).toBeGreaterThan(0)
    expect(summary.commands.answered).toBe(summary.commands.sent)
    expect(summary.missingCount).toBe(0)
    expect(summary.live!.statusSeen!.online).toBeGreaterThanOrEqual(3)
    expect(broker.acked).toBe(120)
    expect((await accountOf(directory)).telemetry).toEqual(summary.telemetry)
  })

  it('names the acknowledged messages that a broker loses', async () => {
    broker.copies = (n) => (n % 10 === 0 ? 0 : 1)
    const summary = await runToEnd(simulation({ patienceMs: 2_000 }))
    expect(summary.telemetry).toMatchObject({ acknowledged: 120, received: 108, missing: 12 })
    expect(summary.missingCount).toBe(12)
    expect(summary.missing).toHaveLength(12)
    expect(summaryText(summary)).toMatch(/FAILED: 12 acknowledged messages never arrived/)
  })

  it('counts what comes twice', async () => {
    broker.copies = (n) => (n % 10 === 0 ? 2 : 1)
    expect((await runToEnd(simulation())).telemetry).toMatchObject({ received: 120, duplicated: 12, missing: 0 })
  })

  it('buffers in order while connections are cut, and sends again what was not acknowledged', async () => {
    const sim = simulation({ qos: [1, 2], until: { messages: 100 }, workers: 1 })
    const summary = await runToEnd(sim, async () => {
      for (const sent of [60, 150, 220]) {
        await until(() => sim.ledger.account.totals.telemetry.sent >= sent && sim.fleet.counts().up === 3)
        broker.cutConnections()
        await until(() => sim.fleet.counts().up === 0)
      }
    })
    expect(summary.live!.fleet.reconnects).toBeGreaterThanOrEqual(9)
    expect(summary.telemetry).toMatchObject({ sent: 300, acknowledged: 300, received: 300, outOfOrder: 0, missing: 0 })
    expect(summary.commands.answered).toBe(summary.commands.sent)
  })

  it('gives up the oldest messages when the buffer of a device is full, and says so', async () => {
    const sim = simulation({ devices: 1, profile: { ...profile, offline: { bufferMax: 5 } }, until: { messages: 50 } })
    await sim.open()
    await sim.connect(never)
    const [device] = sim.fleet.devices
    device!.startProducing()
    device!.tick(Number.MAX_SAFE_INTEGER, 50)
    expect(device).toMatchObject({ produced: 50, buffered: 5, discarded: 45 })
    await until(() => sim.fleet.idle)
    await sim.drain(never)
    await sim.close(true)
    expect(sim.summary().telemetry).toMatchObject({ sent: 5, received: 5, unknown: 0 })
  })

  it('never acknowledges messages that it did not make', async () => {
    broker.enqueue('devices/real/telemetry', '{"celsius":21}')
    broker.enqueue('devices/real/telemetry', 'not even JSON')
    const summary = await runToEnd(simulation())
    expect(summary.live!.workers.foreign).toBe(2)
    expect(broker.acked).toBe(120)
    expect(summary.telemetry).toMatchObject({ received: 120, unknown: 0 })
  })

  it('leaves the queue alone while the workers rest', async () => {
    const sim = simulation({ until: { messages: 20 } })
    await sim.open()
    sim.workers.rest()
    await sim.connect(never)
    await sim.produce(never)
    await sim.settle(never)
    expect(sim.ledger.account.totals.telemetry).toMatchObject({ acknowledged: 60, received: 0, missing: 60 })
    sim.workers.resume()
    await sim.drain(never)
    await sim.close(true)
    expect(sim.summary().telemetry).toMatchObject({ received: 60, missing: 0 })
  })

  it('says nothing about arrival when no worker takes part', async () => {
    const summary = await runToEnd(simulation({ workers: 0 }))
    expect(summary).toMatchObject({ measured: false, missingCount: 0 })
    expect(summaryText(summary)).toContain('not measured')
  })

  it('does not start without a queue', async () => {
    const sim = simulation({ queue: 'nowhere' })
    await expect(sim.open()).rejects.toThrow(CannotRunError)
    await expect(sim.open()).rejects.toThrow(/There is no queue nowhere. Declare the queue/)
  })

  it('does not go on without a connection', async () => {
    const sim = simulation({ url: broker.http.replace('http', 'mqtt'), patienceMs: 100 })
    await sim.open()
    await expect(sim.connect(never)).rejects.toThrow(CannotRunError)
    await sim.close(false)
  })
})

describe('the account of a simulator that was killed', () => {
  it('becomes complete by draining the queue into the same ledger', async () => {
    const sim = simulation({ workers: 1, devices: 2 })
    await sim.open()
    await sim.fleet.connect(never)
    await sim.produce(never)
    await sim.settle(never)
    // No worker ran, and nothing is closed: the ledger is what a kill leaves.
    expect(await accountOf(directory)).toMatchObject({ missingCount: 80, endedAt: null })
    await drainInto(directory, broker.http, 500)
    expect(await accountOf(directory)).toMatchObject({ missingCount: 0, telemetry: { received: 80, unknown: 0 } })
    await sim.close(false)
  })
})
