import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { diskFlush } from '../disk-flush.ts'

test('times each flush and leaves nothing behind', () => {
  const directory = mkdtempSync(join(tmpdir(), 'sluicemq-disk-'))
  try {
    const taken = diskFlush(directory, 5)
    expect(taken.count).toBe(5)
    expect(taken.p50).toBeGreaterThan(0)
    expect(taken.max).toBeGreaterThanOrEqual(taken.p50)
    expect(readdirSync(directory)).toEqual([])
  } finally {
    rmSync(directory, { recursive: true })
  }
})
