/** What `firmware-sim account` does: the account of a run whose process has ended. */
import { statSync } from 'node:fs'
import { pause } from './clock.ts'
import { Ledger, newestLedger, readLedger } from './ledger.ts'
import { PayloadTemplate } from './payload.ts'
import { UsageError } from './profile.ts'
import { QueueApi } from './queue-api.ts'
import { CannotRunError } from './simulation.ts'
import { type Summary, summarize } from './summary.ts'
import { Workers } from './workers.ts'

const drainLeaseMs = 10_000
const pollMs = 50

/** Adds up a ledger file, or the newest one of a directory. Throws `UsageError`. */
export async function accountOf(path: string): Promise<Summary> {
  const file = ledgerAt(path)
  const { facts, account } = await readLedger(file)
  return summarize(facts, account, file, null)
}

/**
 * Takes what is left of the run in its queue and writes it into the ledger, until nothing acknowledged is missing and
 * the queue is empty, or until there is no progress for `patienceMs`. Throws `UsageError` and `CannotRunError`.
 */
export async function drainInto(path: string, http: string, patienceMs: number): Promise<void> {
  const { facts, ledger } = await Ledger.resume(ledgerAt(path))
  const { run, queue, seed } = facts
  const template = new PayloadTemplate(facts.payload)
  const workers = new Workers({ run, http, queue, workers: 2, leaseMs: drainLeaseMs, template, ledger, seed })
  await new QueueApi(http, queue).infoInTime(patienceMs).catch((error) => {
    throw new CannotRunError(`no answer from ${http} about the queue ${queue}: ${(error as Error).message}`)
  })
  workers.start()
  const { telemetry } = ledger.account.totals
  let arrived = -1
  let progressAt = performance.now()
  while (performance.now() - progressAt < patienceMs) {
    if (telemetry.missing === 0 && (await workers.inQueue()) === 0) break
    if (telemetry.received + telemetry.duplicated !== arrived) {
      arrived = telemetry.received + telemetry.duplicated
      progressAt = performance.now()
    }
    await pause(pollMs)
  }
  await workers.stop()
  ledger.close()
}

function ledgerAt(path: string): string {
  try {
    return statSync(path).isDirectory() ? newestLedger(path) : path
  } catch (error) {
    if (error instanceof UsageError) throw error
    throw new UsageError(`no ledger at ${path}`)
  }
}
