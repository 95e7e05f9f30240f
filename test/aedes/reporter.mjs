import { appendFileSync } from 'node:fs'

/**
 * Writes one line of JSON for each top-level test into the file SLUICEMQ_REPORT. At once: the process ends by force, and
 * what a stream still holds then is lost.
 */
// biome-ignore lint/correctness/useYield: a reporter is a generator, and this one has nothing for the runner to write
export default async function* reporter(source) {
  for await (const { type, data } of source) {
    if ((type !== 'test:pass' && type !== 'test:fail') || data.nesting > 0) continue
    const error = data.details?.error?.cause ?? data.details?.error
    const skipped = data.skip !== undefined || data.todo !== undefined
    const outcome = { test: data.name, ok: type === 'test:pass', skipped, error: error?.message ?? String(error) }
    appendFileSync(process.env.SLUICEMQ_REPORT, `${JSON.stringify(outcome)}\n`)
  }
}
