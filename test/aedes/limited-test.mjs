/**
 * What the aedes package's tests get for `node:test`: the same with a time limit for each test, so that a broker that does
 * not answer fails one test and not its whole file. Tests that are known to fail get little. Limits of their own are raised to
 * it: one of 50 ms measures the machine.
 */
import * as runner from 'node:test'

const known = new Set(JSON.parse(process.env.SLUICEMQ_KNOWN_FAILURES ?? '[]'))

export function test(name, options, body) {
  const [settings, run] = typeof options === 'function' ? [{}, options] : [options, body]
  const timeout = known.has(name) ? 1000 : Math.max(10_000, settings.timeout ?? 0)
  return runner.test(name, { ...settings, timeout }, run)
}
export const { after, before, describe } = runner
export default test
