import { expect, test } from 'vitest'
import { formatOverload, runOverload } from './overload.ts'

// The long form: npm run fault -- --overload --minutes 10
test('publishers at three times what subscribers read: every message is delivered, queued or dropped by a named cause', async () => {
  const lines: string[] = []
  const report = (line: string): void => void lines.push(line)
  const account = await runOverload({ seconds: 10, perSecond: 200, payloadBytes: 8000, report })
  const story = `${formatOverload(account)}\n${lines.join('\n')}`
  for (const line of account.lines) {
    expect(line.wrong, story).toBe('')
    expect(line.dropped, story).toBeGreaterThan(0)
    expect(line.delivered, story).toBeGreaterThan(0)
  }
  expect(account.highestBytes, story).toBeLessThan(account.settledBytes + 100 * 1024 * 1024)
  // A loaded machine is slow by itself; what this excludes is waiting for those that are.
  expect(account.p99Ms, story).toBeLessThan(1000)
}, 60_000)
