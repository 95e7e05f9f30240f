/** Guards the list of scenarios that are not run over two nodes. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { exceptions } from './one-node.ts'

/** The list may only shrink. */
const EXCEPTIONS_MAX = 13

test('the list of scenarios about one node has not grown, and names each once', () => {
  expect(exceptions.length).toBeLessThanOrEqual(EXCEPTIONS_MAX)
  const names = exceptions.map(({ file, test }) => `${file} ${test}`)
  expect(new Set(names).size).toBe(names.length)
})

test.each(exceptions)('$file has "$test", and a reason not to run it over two nodes', ({ file, test, reason }) => {
  const path = join(import.meta.dirname, '..', file)
  expect(existsSync(path)).toBe(true)
  expect(reason.length).toBeGreaterThan(20)
  const text = readFileSync(path, 'utf8').replaceAll("\\'", "'")
  for (const title of test.split(' > ')) expect(text).toContain(title)
})
