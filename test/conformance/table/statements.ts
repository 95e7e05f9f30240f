/**
 * The conformance table: every numbered normative statement of MQTT 3.1.1 and 5.0 with the tests that prove it, read from
 * `v3.json` and `v5.json` beside this file. Knows nothing of vitest, so that scripts can use it.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

export const versions = ['v3', 'v5'] as const
export type Version = (typeof versions)[number]

export interface Statement {
  /** `v5 MQTT-3.8.4-8`: the same number means different things in 3.1.1 and 5. */
  readonly id: string
  /** Section of the specification: `3.8.4`. */
  readonly section: string
  readonly level: 'must' | 'must not' | 'should' | 'may'
  /** Who has to obey. */
  readonly appliesTo: 'server' | 'client' | 'both'
  /** What it demands, in our words. */
  readonly statement: string
  /**
   * `covered`: `tests` prove it; of a client's duty, what the broker does about a client that neglects it.
   * `gap`: it is the broker's and not proven. `not-applicable`: it is nothing the broker could do or show.
   */
  readonly status: 'covered' | 'gap' | 'not-applicable'
  /** `path > title` of the tests that prove it. */
  readonly tests: readonly string[]
  /** Why it is a gap, or not applicable to a server. */
  readonly reason?: string
}

export interface Table {
  readonly specification: string
  /** Statements by section, as Appendix B of the specification counts them. */
  readonly sections: Readonly<Record<string, { readonly title: string; readonly count: number }>>
  /** Gaps there may be at most; lowered when one is closed. */
  readonly gapsMax: number
  readonly statements: readonly Statement[]
}

/** Where the data lies, from the root of the repository. */
export const tableFolder = 'test/conformance/table'
export const tablePath = (version: Version): string => `${tableFolder}/${version}.json`
export const gapsPath = 'test/conformance/known-gaps.json'
export const docsPath = 'docs/conformance.md'

export function readTable(root: string, version: Version): Table {
  return JSON.parse(readFileSync(join(root, tablePath(version)), 'utf8')) as Table
}

/** A test as its file spells it. */
export interface TestTitle {
  /** From the root of the repository. */
  readonly path: string
  /** The literal in the source: `${…}` of a template stands as it is written. */
  readonly title: string
}

/** Titles of `test(…)` and `it(…)`, of `.concurrent` and `.each` too, whose first argument is a literal. */
const call =
  /(?:\b(?:test|it)(?:\.\w+)*|\n\s*\]\))\(\s*(?:'((?:[^'\\\n]|\\.)*)'|"((?:[^"\\\n]|\\.)*)"|`((?:[^`\\]|\\.)*)`)/g

export function titlesOf(path: string, text: string): TestTitle[] {
  return [...text.matchAll(call)].map(([, single, double, template]) => {
    const literal = single ?? double ?? template ?? ''
    return {
      path,
      title: literal.replace(/\\u([0-9a-fA-F]{4})/g, (_, hex) => unicode(hex)).replace(/\\(['"`])/g, '$1'),
    }
  })
}

function unicode(hex: string): string {
  return String.fromCharCode(Number.parseInt(hex, 16))
}

/** Every test of the folder `test/`; cases of the wire tables (JSON) count as tests called by their name. */
export function allTitles(root: string): TestTitle[] {
  const titles: TestTitle[] = []
  for (const name of readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' })) {
    const path = `test/${name.replaceAll('\\', '/')}`
    if (path.endsWith('.test.ts')) titles.push(...titlesOf(path, readFileSync(join(root, path), 'utf8')))
    if (/^test\/conformance\/wire\/[^/]+\.json$/.test(path)) {
      const cases = JSON.parse(readFileSync(join(root, path), 'utf8')) as { name: string; clause: string }[]
      for (const { name: title, clause } of cases) titles.push({ path, title: `${title} [${clause}]` })
    }
  }
  return titles.sort((a, b) => (a.path === b.path ? 0 : a.path < b.path ? -1 : 1))
}

/**
 * The statements a text cites: `[v5 MQTT-3.8.4-8]`, `[v3 MQTT-3.8.4-1, -2; v5 MQTT-3.8.4-1, MQTT-3.9.3-1]`. A citation of a
 * section (`[v5 3.8.4]`) is none.
 */
export function citations(text: string): string[] {
  return [...text.matchAll(/\[(v[35] MQTT-[^\]…]+)\]/g)].flatMap(([, lists]) =>
    lists!.split(/; ?/).flatMap((list) => {
      const version = list.slice(0, 2)
      let section = ''
      return list
        .slice(3)
        .split(/, ?/)
        .map((part) => {
          if (part.startsWith('MQTT-')) section = part.slice(5).replace(/-\d+$/, '')
          return part.startsWith('-') ? `${version} MQTT-${section}${part}` : `${version} ${part}`
        })
    }),
  )
}

export function reference({ path, title }: TestTitle): string {
  return `${path} > ${title}`
}

/** Tests of conformance proper; those elsewhere may be named in the table by hand. */
export function provesByTitle({ path }: TestTitle): boolean {
  return /^test\/conformance\/(v3|v5|regression)\//.test(path)
}

/** The table with `tests` and `status` as the titles of the conformance tests say; what was named by hand stays. */
export function linked(table: Table, titles: readonly TestTitle[]): Table {
  const known = new Set(titles.map(reference))
  const byId = new Map<string, string[]>()
  for (const title of titles.filter(provesByTitle))
    for (const id of citations(title.title)) byId.set(id, [...(byId.get(id) ?? []), reference(title)])
  const statements = table.statements.map((old): Statement => {
    const byHand = old.tests.filter((test) => known.has(test) && !byId.get(old.id)?.includes(test))
    const stillByHand = byHand.filter((test) => !provesByTitle({ path: test.split(' > ')[0]!, title: '' }))
    const tests = [...(byId.get(old.id) ?? []), ...stillByHand]
    const { reason, ...rest } = old
    if (tests.length > 0 && !(old.status === 'gap' && reason?.startsWith('In part: ')))
      return { ...rest, status: 'covered', tests }
    const status = old.appliesTo === 'client' || old.status === 'not-applicable' ? 'not-applicable' : 'gap'
    return { ...rest, status, tests, ...(reason === undefined ? {} : { reason }) }
  })
  return { ...table, statements }
}

/** The list of what is not proven. */
export function gaps(tables: readonly Table[]): { id: string; reason: string }[] {
  return tables
    .flatMap(({ statements }) => statements)
    .filter(({ status }) => status === 'gap')
    .map(({ id, reason }) => ({ id, reason: reason ?? '' }))
}

/** The root of the repository: the folder from which npm and vitest run. */
export function repositoryRoot(): string {
  const root = process.cwd()
  if (!existsSync(join(root, tableFolder))) throw new Error(`run this in the repository's folder, not in ${root}`)
  return root
}
