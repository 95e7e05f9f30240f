import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { accountOf } from '../../firmware-sim/account-command.ts'
import { Ledger, newestLedger, type RunFacts, readLedger } from '../../firmware-sim/ledger.ts'
import { UsageError } from '../../firmware-sim/profile.ts'

const facts: RunFacts = {
  run: 'r1',
  startedAt: '2026-11-20T08:00:00.000Z',
  profile: 'telemetry',
  devices: 1,
  seed: 1,
  queue: 'telemetry',
  payload: { run: '{run}', device: '{device}', sequence: '{sequence}', time: '{time}' },
  measured: true,
}

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'firmware-sim-test-'))
})
afterEach(() => rmSync(directory, { recursive: true }))

/** Two messages sent, both acknowledged, one received; not closed, as after a kill. */
function abandoned(): Ledger {
  const ledger = Ledger.create(directory, facts)
  ledger.open(0, 'telemetry', 'd-1', 'devices/d-1/telemetry')
  ledger.sent(0, 1, 1, 100.25)
  ledger.sent(0, 2, 2, 101)
  ledger.acknowledged(0, 1, 102)
  ledger.acknowledged(0, 2, 103)
  ledger.received(0, 1, 110, { handedOutAt: 109, batch: 1, attempt: 1 })
  ledger.flush()
  return ledger
}

describe('the ledger', () => {
  it('adds up to the same account when read again without having been closed', async () => {
    const ledger = abandoned()
    const read = await readLedger(ledger.file)
    expect(read.facts).toMatchObject(facts)
    expect(read.account.totals).toEqual(ledger.account.totals)
    expect([...read.account.missing()]).toEqual([...ledger.account.missing()])
    expect(read.account.latency.maxMs).toBe(9.75)
    expect(read.account.endedAt).toBeNull()
  })

  it('has nothing in memory alone after flush', () => {
    const ledger = abandoned()
    ledger.sent(0, 3, 1, 120)
    expect(readFileSync(ledger.file, 'utf8')).not.toContain('["s",0,3,')
    ledger.flush()
    expect(readFileSync(ledger.file, 'utf8')).toContain('["s",0,3,1,120]\n')
  })

  it('ignores a last line that was being written when the process died', async () => {
    const ledger = abandoned()
    appendFileSync(ledger.file, '["a",0,')
    expect((await readLedger(ledger.file)).account.totals).toEqual(ledger.account.totals)
  })

  it('goes on behind such a line', async () => {
    const { file } = abandoned()
    appendFileSync(file, '["a",0,')
    const { ledger } = await Ledger.resume(file)
    ledger.received(0, 2, 200, { handedOutAt: 199, batch: 2, attempt: 1 })
    ledger.close()
    expect((await readLedger(file)).account.totals.telemetry).toMatchObject({ received: 2, missing: 0 })
  })

  it('refuses a ledger that is damaged in the middle', async () => {
    const { file } = abandoned()
    writeFileSync(file, readFileSync(file, 'utf8').replace('["s",0,2,2,101]', '["s",0,2'))
    await expect(readLedger(file)).rejects.toThrow(/damaged at byte \d+/)
  })

  it('refuses a file that is something else', async () => {
    const file = join(directory, 'x.ledger')
    writeFileSync(file, '{"some":"json"}\n')
    await expect(readLedger(file)).rejects.toThrow(UsageError)
    writeFileSync(file, '')
    await expect(readLedger(file)).rejects.toThrow(UsageError)
  })

  it('is found by its directory, the newest first', () => {
    expect(() => newestLedger(directory)).toThrow(UsageError)
    const older = Ledger.create(directory, facts)
    older.close()
    const newer = Ledger.create(directory, { ...facts, run: 'r2', startedAt: '2026-11-20T09:00:00.000Z' })
    newer.close()
    expect(newestLedger(directory)).toBe(newer.file)
  })
})

describe('the account of a run that was killed', () => {
  it('lists what is missing and says that the run was cut short', async () => {
    abandoned()
    const summary = await accountOf(directory)
    expect(summary).toMatchObject({ missingCount: 1, endedAt: null, live: null })
    expect(summary.missing).toMatchObject([{ device: 'd-1', sequence: 2, qos: 2 }])
  })

  it('does not blame the broker for commands that died with the simulator', async () => {
    const ledger = abandoned()
    ledger.received(0, 2, 111, { handedOutAt: 109, batch: 1, attempt: 1 })
    ledger.open(1, 'command', 'd-1', 'devices/d-1/commands')
    ledger.sent(1, 1, 1, 100)
    ledger.acknowledged(1, 1, 101)
    ledger.flush()
    expect((await accountOf(directory)).missingCount).toBe(0)
    ledger.ended(200)
    expect((await accountOf(directory)).missingCount).toBe(1)
  })
})
