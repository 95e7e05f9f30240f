import { expect, test } from 'vitest'
import { runFrozenReaders } from './frozen-readers.ts'

const MIB = 1024 * 1024

// The long form: npm run fault -- --frozen-readers 10000
test.each([0, 1] as const)(
  '40 frozen readers at QoS %i under publishing at full speed: memory stays under its limit, and others go on',
  async (qos) => {
    const memoryBytesMax = 256 * MIB
    const lines: string[] = []
    const report = (line: string): void => void lines.push(line)
    const account = await runFrozenReaders({
      readers: 40,
      seconds: 4,
      memoryBytesMax,
      payloadBytes: 2000,
      qos,
      report,
    })
    const story = `${JSON.stringify(account)} ${lines.join('; ')}`
    expect(account.highestBytes, story).toBeLessThan(memoryBytesMax)
    // It would have been 40 × 8 MiB without the budget.
    expect(account.highestLevel, story).toBeGreaterThanOrEqual(1)
    expect(account.healthy.received, story).toBe(account.healthy.sent)
    expect(account.open, story).toBe(true)
    expect(account.heldAfterwards, story).toBe(0)
  },
  60_000,
)
