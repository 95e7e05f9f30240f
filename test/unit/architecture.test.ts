/** The rules of ARCHITECTURE.md that a machine can hold. Each is a function from one file to complaints. */
import { readdirSync, readFileSync } from 'node:fs'
import { join, posix } from 'node:path'
import { describe, expect, test } from 'vitest'

interface SourceFile {
  /** From the repository's root: `src/wire/topic.ts`. */
  readonly path: string
  readonly text: string
}

const root = join(import.meta.dirname, '../..')

function sources(folder: string): SourceFile[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => {
      const path = posix.join(folder, name.replaceAll('\\', '/'))
      return { path, text: readFileSync(join(root, path), 'utf8') }
    })
}

function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\/|(^|\s)\/\/.*$/gm, '$1')
}

/** What a file imports or re-exports: a path from the root for our own files, else the name of the package. */
function imports({ path, text }: SourceFile): string[] {
  const pattern = /(?:^|\n)\s*(?:import|export)\b[^'"`;]*?from\s*['"]([^'"]+)['"]|\bimport\s*\(?\s*['"]([^'"]+)['"]/g
  return [...withoutComments(text).matchAll(pattern)].map(([, from, bare]) => {
    const name = (from ?? bare) as string
    return name.startsWith('.') ? posix.join(posix.dirname(path), name) : name
  })
}

type Rule = (file: SourceFile) => string[]

/** Complaints about imports that are not allowed in this file. */
function forbid(file: SourceFile, forbidden: (target: string) => boolean): string[] {
  return imports(file)
    .filter(forbidden)
    .map((target) => `${file.path} imports ${target}`)
}

const onlyTheSeamImportsAedes: Rule = (file) =>
  file.path.startsWith('src/aedes/') ? [] : forbid(file, (target) => /^(@[\w-]+\/)?(aedes|mqemitter)/.test(target))

const wireDoesNoInput: Rule = (file) =>
  file.path.startsWith('src/wire/')
    ? forbid(
        file,
        (target) => !target.startsWith('src/wire/') && target !== 'src/errors.ts' && target !== 'node:buffer',
      )
    : []

const adapterFolders = ['stores', 'transports', 'clusters', 'doors', 'sinks', 'authenticators']
const adapterOf = (path: string): string | undefined =>
  adapterFolders.find((folder) => path.startsWith(`src/${folder}/`))

const onlyBrokerPicksAdapters: Rule = (file) => {
  const own = adapterOf(file.path)
  if (file.path === 'src/broker.ts') return []
  return forbid(file, (target) => adapterOf(target) !== undefined && adapterOf(target) !== own)
}

/** Which folders an adapter may know: its own, the ports and tables at the top of `src`, and `base`. */
const adaptersKnowOnlyTheirPort: Rule = (file) => {
  const own = adapterOf(file.path)
  if (own === undefined) return []
  return forbid(
    file,
    (target) => target.startsWith('src/') && !new RegExp(`^src/(${own}/|base/|[\\w-]+\\.ts$)`).test(target),
  )
}

const timeAndChance =
  /\bDate\.now\b|\bnew Date\(\)|\bMath\.random\b|\bperformance\.now\b|\bhrtime\b|\bset(Timeout|Interval)\b|\brandom(Bytes|UUID|Int)\b/
/** Files outside `src/base` that may, and why. */
const mayReadTheClock: Readonly<Record<string, string>> = {
  'src/worker/': 'the SDK runs in the worker’s process, where nobody injects a clock',
  'src/admin/capacity-table.ts': 'its script runs in a browser',
}

const onlyBaseReadsTheClock: Rule = ({ path, text }) => {
  if (path.startsWith('src/base/') || Object.keys(mayReadTheClock).some((allowed) => path.startsWith(allowed)))
    return []
  return withoutComments(text)
    .split('\n')
    .filter((line) => timeAndChance.test(line))
    .map((line) => `${path}: ${line.trim()}`)
}

const longFilesSayWhy: Rule = ({ path, text }) => {
  const lines = text.trimEnd().split('\n').length
  const first = /^(#!.*\n)?\s*(\/\*[\s\S]*?\*\/|(\/\/.*\n)+)/.exec(text)?.[2] ?? ''
  return lines <= 300 || /\bSize: \S/.test(first)
    ? []
    : [`${path} has ${lines} lines and no "Size: …" in its first comment`]
}

const filesAreNamedAfterWhatTheyHold: Rule = ({ path }) =>
  /\/(utils?|helpers?|common|misc|types|shared)(\.ts|\/)/.test(path) ? [`${path}: say what is in it`] : []

const entryPointsAreTheOnlyBarrels: Rule = ({ path, text }) =>
  path.endsWith('/index.ts') || !/^export \* from/m.test(text) ? [] : [`${path} is a barrel`]

const rules: [string, Rule, SourceFile][] = [
  [
    'only src/aedes imports the packages of Aedes',
    onlyTheSeamImportsAedes,
    { path: 'src/broker.ts', text: `import type {\n  Options,\n} from 'mqemitter-redis'\n` },
  ],
  [
    'wire does no input or output and knows nobody but itself',
    wireDoesNoInput,
    { path: 'src/wire/topic.ts', text: `import 'node:net'\n` },
  ],
  [
    'only src/broker.ts picks adapters, and no adapter knows another',
    onlyBrokerPicksAdapters,
    { path: 'src/session/session.ts', text: `const x = await import('../stores/lmdb.ts')\n` },
  ],
  [
    'an adapter knows its port and src/base, not the core',
    adaptersKnowOnlyTheirPort,
    { path: 'src/stores/memory.ts', text: `import { Session } from '../session/session.ts'\n` },
  ],
  [
    'only src/base reads the clock, sets timers and asks for randomness',
    onlyBaseReadsTheClock,
    { path: 'src/queue/queue.ts', text: `const at = Date.now()\n` },
  ],
  [
    'a file over 300 lines says why in its first comment',
    longFilesSayWhy,
    { path: 'src/router/long.ts', text: `/** About it. */\n${'x\n'.repeat(300)}/* Size: too late. */` },
  ],
  [
    'no file is called util, helpers, common or types',
    filesAreNamedAfterWhatTheyHold,
    { path: 'src/wire/utils.ts', text: '' },
  ],
  [
    'barrels are entry points',
    entryPointsAreTheOnlyBarrels,
    { path: 'src/queue/all.ts', text: `export * from './a.ts'` },
  ],
]

describe.each(rules)('%s', (_name, rule, offender) => {
  test('holds for every file', () => {
    expect(sources('src').flatMap(rule)).toEqual([])
  })

  test('is noticed when broken', () => {
    expect(rule(offender)).toHaveLength(1)
  })
})

test('the rules look at the real tree and are silent about what is allowed', () => {
  const files = sources('src')
  expect(files.map(({ path }) => path)).toContain('src/transports/duplex.ts')
  expect(files.flatMap(imports)).toContain('src/transport.ts')
  for (const allowed of Object.keys(mayReadTheClock)) {
    const users = files.filter(
      ({ path, text }) => path.startsWith(allowed) && timeAndChance.test(withoutComments(text)),
    )
    expect(users, `${allowed} needs no exception any more`).not.toEqual([])
  }
  expect(onlyBaseReadsTheClock({ path: 'src/a.ts', text: '// Date.now()\n/* Math.random */\n' })).toEqual([])
  expect(longFilesSayWhy({ path: 'src/a.ts', text: `/** Size: one table. */\n${'x\n'.repeat(400)}` })).toEqual([])
})
