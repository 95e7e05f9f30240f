/** Guards of the conformance table: nothing invented, missing or dangling, and gaps that only become fewer. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { conformancePage, knownGaps, tableText } from '../../scripts/conformance.ts'
import {
  allTitles,
  citations,
  docsPath,
  gaps,
  gapsPath,
  linked,
  provesByTitle,
  readTable,
  reference,
  repositoryRoot,
  tablePath,
  titlesOf,
  versions,
} from './table/statements.ts'

const root = repositoryRoot()
const read = (path: string): string => readFileSync(join(root, path), 'utf8')
const tables = versions.map((version) => readTable(root, version))
const statements = tables.flatMap((table) => table.statements)
const ids = new Set(statements.map(({ id }) => id))
const titles = allTitles(root)

/** How many statements Appendix B of each specification lists. */
const appendixB = { v3: 141, v5: 251 }

/** Numbers that Appendix B of MQTT 5 leaves out. */
const skipped = new Set(['v5 MQTT-2.2.1-1'])

describe('statements', () => {
  test('are as many as Appendix B lists, in all and in each section', () => {
    for (const [i, version] of versions.entries()) {
      const { sections, statements: rows } = tables[i]!
      expect(rows.length).toBe(appendixB[version])
      const counted = Object.fromEntries(Object.keys(sections).map((section) => [section, 0]))
      for (const { section } of rows) counted[section] = (counted[section] ?? 0) + 1
      const wanted = Object.entries(sections).map(([section, { count }]) => [section, count])
      expect(counted).toEqual(Object.fromEntries(wanted))
    }
  })
  test('have ids of their version and section, numbered without a gap or a double', () => {
    expect(ids.size).toBe(statements.length)
    for (const [i, version] of versions.entries()) {
      const { sections, statements: rows } = tables[i]!
      const wanted = Object.entries(sections).flatMap(([section, { count }]) => {
        const numbers = Array.from({ length: count + 1 }, (_, n) => `${version} MQTT-${section}-${n + 1}`)
        return numbers.filter((id) => !skipped.has(id)).slice(0, count)
      })
      expect(rows.map(({ id }) => id)).toEqual(wanted)
    }
  })
  test('say who has to do what, and not in the words of the specification', () => {
    for (const { id, level, appliesTo, statement } of statements) {
      expect(['must', 'must not', 'should', 'may'], id).toContain(level)
      expect(['server', 'client', 'both'], id).toContain(appliesTo)
      expect(statement, id).toMatch(/^\S.{10,200}\.$/)
      expect(statement, id).not.toMatch(/MUST|SHALL|SHOULD/)
    }
  })
})

describe('status', () => {
  test('covered means tests, anything else a reason', () => {
    for (const { id, status, tests, reason, appliesTo } of statements) {
      if (status === 'covered') expect(tests.length, id).toBeGreaterThan(0)
      else expect(reason, id).toMatch(/\.$/)
      if (status === 'not-applicable') expect(tests, id).toEqual([])
      if (status === 'gap') expect(appliesTo, id).not.toBe('client')
    }
  })
  test('of what the server must do is not-applicable only for these', () => {
    const excused = statements.filter((one) => one.status === 'not-applicable' && one.appliesTo !== 'client')
    expect(excused.map(({ id }) => id)).toEqual(['v3 MQTT-7.0.0-1', 'v5 MQTT-3.1.3-8'])
  })
  test('every test that is named exists, with exactly that title', () => {
    const known = new Set(titles.map(reference))
    const dangling = statements.flatMap(({ id, tests }) =>
      tests.filter((test) => !known.has(test)).map((test) => `${id}: ${test}`),
    )
    expect(dangling).toEqual([])
  })
})

describe('citations', () => {
  test('of every test title are of statements that exist', () => {
    const wrong = titles.flatMap(({ path, title }) =>
      citations(title)
        .filter((id) => !ids.has(id))
        .map((id) => `${path}: ${id} in "${title}"`),
    )
    expect(wrong).toEqual([])
  })
  test('of the source are of statements that exist', () => {
    const files = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' }).filter((name) =>
      /\.ts$/.test(name),
    )
    const wrong = files.flatMap((name) =>
      citations(read(`src/${name}`).replace(/\n\s*(?:\*|\/\/)\s*/g, ' '))
        .filter((id) => /-\d+$/.test(id) && !ids.has(id))
        .map((id) => `src/${name}: ${id}`),
    )
    expect(wrong).toEqual([])
  })
  test('are found in titles of every form', () => {
    const source = [
      "test('one [v5 MQTT-3.8.4-8]', () => {})",
      'it.concurrent(\n  "two [v3 MQTT-3.8.4-1, -2] [v5 3.8.4]",',
      "test.each([\n  ['a'],\n])('three %s [v5 MQTT-4.7.1-1, MQTT-4.7.3-4]', () => {})",
    ]
    const found = titlesOf('x.test.ts', source.join('\n')).map(({ title }) => citations(title))
    expect(found).toEqual([
      ['v5 MQTT-3.8.4-8'],
      ['v3 MQTT-3.8.4-1', 'v3 MQTT-3.8.4-2'],
      ['v5 MQTT-4.7.1-1', 'v5 MQTT-4.7.3-4'],
    ])
  })
  test('of conformance tests are all in the table', () => {
    const byId = new Map(statements.map(({ id, tests }) => [id, tests]))
    const missing = titles
      .filter(provesByTitle)
      .flatMap((title) => citations(title.title).map((id) => [id, reference(title)] as const))
      .filter(([id, test]) => byId.get(id)?.includes(test) !== true)
    expect(missing).toEqual([])
  })
})

describe('what is generated', () => {
  const regenerate = 'run: npm run build && node dist/scripts/conformance.js'

  test('the tables are what the titles say', () => {
    for (const [i, version] of versions.entries()) {
      const again = linked(tables[i]!, titles)
      expect(read(tablePath(version)) === tableText(again), `${tablePath(version)}: ${regenerate}`).toBe(true)
    }
  })
  test('docs/conformance.md is what the tables say', () => {
    expect(existsSync(join(root, docsPath))).toBe(true)
    expect(read(docsPath) === conformancePage(tables), regenerate).toBe(true)
  })
  test('known-gaps.json is what the tables say', () => {
    expect(read(gapsPath) === knownGaps(tables), regenerate).toBe(true)
  })
})

test('gaps become fewer only: their number is the one recorded', () => {
  for (const table of tables) expect(gaps([table]).length).toBe(table.gapsMax)
})
