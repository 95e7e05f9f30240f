/**
 * Writes what follows from the titles of the conformance tests: `tests` and `status` in the tables,
 * test/conformance/known-gaps.json and docs/conformance.md.
 *
 *     npm run build && node dist/scripts/conformance.js
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import {
  allTitles,
  docsPath,
  gaps,
  gapsPath,
  linked,
  readTable,
  repositoryRoot,
  type Statement,
  type Table,
  tablePath,
  versions,
} from '../test/conformance/table/statements.ts'

type Row = readonly (string | number)[]

const line = (row: Row): string => `| ${row.join(' | ')} |`

function markdownTable(head: Row, rows: readonly Row[]): string {
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')
}

function count(statements: readonly Statement[], ...wanted: Partial<Statement>[]): number {
  return statements.filter((one) =>
    wanted.every((want) => Object.entries(want).every(([key, value]) => one[key as keyof Statement] === value)),
  ).length
}

function summary(tables: readonly Table[]): string {
  const rows = tables.map(({ specification, statements }): Row => {
    const broker = statements.filter(({ appliesTo }) => appliesTo !== 'client')
    const client = statements.filter(({ appliesTo }) => appliesTo === 'client')
    return [
      specification,
      statements.length,
      broker.length,
      count(broker, { status: 'covered' }),
      count(broker, { status: 'gap' }),
      count(broker, { status: 'not-applicable' }),
      client.length,
      count(client, { status: 'covered' }),
    ]
  })
  const head: Row = [
    'Specification',
    'Statements',
    'For the server, or both',
    'covered',
    'gaps',
    'not applicable',
    'For the client alone',
    'their neglect tested',
  ]
  return markdownTable(head, rows)
}

const inMarkdown = (text: string): string => text.replaceAll('|', '\\|').replaceAll('<', '&lt;').replaceAll('$', '\\$')

function chapter({ specification, sections, statements }: Table): string {
  const parts = Object.entries(sections).map(([section, { title }]) => {
    const rows = statements
      .filter((one) => one.section === section)
      .map((one): Row => {
        const files = [...new Set(one.tests.map((test) => test.split(' > ')[0]!))]
        const proof = files.map((path) => `[${path.replace('test/conformance/', '')}](../${path})`).join(' ')
        const note = one.reason === undefined ? '' : `${inMarkdown(one.reason)} `
        const number = one.id.split(' ')[1]!
        return [number, one.level, one.appliesTo, inMarkdown(one.statement), one.status, `${note}${proof}`.trim()]
      })
    return `### ${section} ${title}\n\n${markdownTable(['Id', 'Level', 'For', 'Demand', 'Status', 'Proof'], rows)}`
  })
  return `## ${specification}\n\n${parts.join('\n\n')}`
}

/** The text of docs/conformance.md. */
export function conformancePage(tables: readonly Table[]): string {
  const open = gaps(tables)
  const listed =
    open.length === 0
      ? 'There are none.'
      : markdownTable(
          ['Id', 'Why'],
          open.map(({ id, reason }) => [id, inMarkdown(reason)]),
        )
  return `<!-- Made by scripts/conformance.ts from test/conformance/table; not edited by hand. -->

# Conformance

Every numbered normative statement of MQTT 3.1.1 (OASIS standard, 29 October 2014) and MQTT 5.0 (OASIS standard,
7 March 2019), and the tests that prove it: conversations in bytes with a running broker. The demands are in our own
words; the specifications are the authority.

*Covered*: tests prove it. Where a statement binds the client alone, they prove what the broker does about a client that
neglects it. *Not applicable*: a client's duty that a broker cannot see, or an ability the broker does not have.

${summary(tables)}

## Gaps

${listed}

${tables.map(chapter).join('\n\n')}
`
}

/** The text of test/conformance/known-gaps.json. */
export function knownGaps(tables: readonly Table[]): string {
  return `${JSON.stringify(gaps(tables), null, 2)}\n`
}

/** The text of a table's file, in the formatter's form: lists of strings that fit stand on one line. */
export function tableText(table: Table): string {
  const text = JSON.stringify(table, null, 2)
  const list = /^( *"\w+": )\[\n((?: *"[^\n]*"\n?)+?) *\](,?)$/gm
  return `${text.replace(list, (whole, key: string, items: string, comma: string) => {
    const one = `${key}[${items.trim().replace(/,\n */g, ', ')}]${comma}`
    return one.length <= 120 ? one : whole
  })}\n`
}

function main(): void {
  const root = repositoryRoot()
  const titles = allTitles(root)
  const tables = versions.map((version) => linked(readTable(root, version), titles))
  for (const [i, version] of versions.entries()) writeFileSync(join(root, tablePath(version)), tableText(tables[i]!))
  writeFileSync(join(root, gapsPath), knownGaps(tables))
  writeFileSync(join(root, docsPath), conformancePage(tables))
  for (const { id, reason } of gaps(tables)) console.log(`gap: ${id} ${reason}`)
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) main()
