/** Guards the list of scenarios that are not run over two nodes. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { exceptions } from './one-node.ts'

/** The list may only shrink. */
const EXCEPTIONS_MAX = 24

test('the list of scenarios about one node has not grown, and names each once', () => {
  expect(exceptions.length).toBeLessThanOrEqual(EXCEPTIONS_MAX)
  const names = exceptions.map(({ file, test }) => `${file} ${test}`)
  expect(new Set(names).size).toBe(names.length)
})

/** Names that are made from a table: `$name` and `%i` stand for values of it. */
function madeOf(text: string): RegExp[] {
  const titles = [...text.matchAll(/'([^'\n]*[$%][^'\n]*)'/g)].map(([, title]) => title!)
  const escaped = (part: string): string => part.replace(/[.*+?^()[\]{}|\\]/g, '\\$&')
  return titles.map(
    (title) =>
      new RegExp(
        `^${title
          .split(/[$][\w.]+|%\w/)
          .map(escaped)
          .join('.+')}$`,
      ),
  )
}

test.each(exceptions)('$file has "$test", and a reason not to run it over two nodes', ({ file, test, reason }) => {
  const path = join(import.meta.dirname, '..', file)
  expect(existsSync(path)).toBe(true)
  expect(reason.length).toBeGreaterThan(20)
  const text = readFileSync(path, 'utf8').replaceAll("\\'", "'")
  for (const title of test.split(' > '))
    expect(text.includes(title) || madeOf(text).some((made) => made.test(title))).toBe(true)
})
