/**
 * What `npm test` runs. Says which real servers and clients the tests can speak to, installs missing ones from Debian's
 * packages where it may, runs vitest, then the scenarios of one broker again over two nodes (docs/nodes.md), and ends with one
 * line: `N passed, N failed, N skipped`.
 *
 * With CI=true nothing may be skipped: a missing server or client and a skipped test are failures.
 */
import { spawn, spawnSync } from 'node:child_process'
import { accessSync, constants, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { availableParallelism, tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'

/** A program, or a library of a program, that the tests speak to and that we did not write. */
interface Peer {
  readonly name: string
  /** Debian package that brings it. */
  readonly debian: string
  readonly neededFor: string
  /** Where it is; null when it is not installed. */
  readonly locate: () => string | null
}

const command = (name: string, debian: string, neededFor: string): Peer => {
  return { name, debian, neededFor, locate: () => find(name) }
}

const peers: readonly Peer[] = [
  command('mosquitto', 'mosquitto', 'tests that compare with another broker'),
  command('mosquitto_pub', 'mosquitto-clients', 'tests with the clients of Mosquitto'),
  {
    name: 'paho-mqtt for Python',
    debian: 'python3-paho-mqtt',
    neededFor: 'tests with that client',
    locate: locatePaho,
  },
  command('chromium', 'chromium', 'tests of a client in a web page'),
  command('redis-server', 'redis-server', 'tests of the Redis store and of several nodes'),
]

/** How long fetching the lists of packages may take. */
const updateMs = 40_000
/** How long one run may spend fetching packages, all together. */
const fetchMs = 100_000
/** How long unpacking one package may take: bounded, but never cut short by what came before. */
const unpackMs = 60_000

/** The part of vitest's JSON report that is read here. */
interface Report {
  readonly numPassedTests: number
  readonly numFailedTests: number
  readonly numPendingTests: number
  readonly numTodoTests: number
  readonly testResults: readonly {
    readonly name: string
    readonly status: 'passed' | 'failed'
    readonly assertionResults: readonly {
      readonly ancestorTitles: readonly string[]
      readonly title: string
      readonly fullName: string
      readonly status: string
    }[]
  }[]
}

const strict = process.env['CI'] === 'true'

function find(command: string): string | null {
  // Servers live in sbin, which is not on everybody's PATH.
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin']
  for (const folder of folders) {
    try {
      const path = join(folder, command)
      accessSync(path, constants.X_OK)
      return path
    } catch {
      // Not in this folder.
    }
  }
  return null
}

/** Asks Debian's own Python: another one on the PATH does not see Debian's packages. */
function locatePaho(): string | null {
  const ask = 'import paho.mqtt; print(paho.mqtt.__path__[0])'
  const { status, stdout } = spawnSync('/usr/bin/python3', ['-I', '-c', ask], { encoding: 'utf8', timeout: 10_000 })
  return status === 0 ? stdout.trim() : null
}

const missingPeers = (): Peer[] => peers.filter(({ locate }) => locate() === null)

/** Tries once to install the packages; says so when it cannot. */
function install(missing: readonly Peer[]): void {
  const packages = missing.map(({ debian }) => debian)
  if (process.getuid?.() !== 0 || find('apt-get') === null) {
    console.log(`not installing ${packages.join(', ')}: that takes root and apt-get`)
    return
  }
  console.log(`installing ${packages.join(', ')} with apt-get`)
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', NEEDRESTART_SUSPEND: '1' }
  const settings = ['DPkg::Lock::Timeout=20', 'Acquire::Retries=1', 'Acquire::http::Timeout=20', 'Dpkg::Use-Pty=0']
  const quietly = ['-qq', ...settings.flatMap((setting) => ['-o', setting])]
  const apt = (timeout: number, ...args: string[]): boolean => {
    // No terminal and no input: whatever wants to ask a question takes its default.
    const io = { stdio: ['ignore', 'ignore', 'pipe'] as ['ignore', 'ignore', 'pipe'], encoding: 'utf8' as const }
    const { status, error, stderr } = spawnSync('apt-get', [...quietly, ...args], { ...io, env, timeout })
    const reason = error?.message ?? stderr?.trim().split('\n').at(-1)
    if (status !== 0) console.log(`apt-get ${args.join(' ')} failed: ${reason}`)
    return status === 0
  }
  // Lists that are absent or old name packages that are no longer there. A source that is away does not matter yet.
  apt(updateMs, 'update')
  // One by one, because one unknown package fails a whole request; fetched first, because cutting off a download does
  // no harm and cutting off dpkg does.
  const deadline = Date.now() + fetchMs
  const options = ['-y', '--no-install-recommends']
  for (const name of packages) {
    const fetched = apt(Math.max(1, deadline - Date.now()), 'install', ...options, '--download-only', name)
    if (fetched) apt(unpackMs, 'install', ...options, '--no-download', name)
  }
}

/** One run of vitest. */
interface Run {
  /** In front of the names of its tests. */
  readonly label: string
  readonly args: readonly string[]
  /** Tests that are not to be run in it, by file and name; null: all are. */
  readonly leftOut: ((file: string, name: string) => boolean) | null
}

interface Counts {
  passed: number
  failed: number
  skipped: string[]
  code: number
}

function runVitest(report: string, args: readonly string[]): Promise<number> {
  const vitest = join(createRequire(import.meta.url).resolve('vitest/package.json'), '..', 'vitest.mjs')
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`]
  const child = spawn(process.execPath, [vitest, 'run', ...reporters, ...args], { stdio: 'inherit' })
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('exit', (code, signal) => resolve(code ?? (signal === null ? 1 : 128)))
  })
}

function readReport(path: string): Report | null {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Report
  } catch {
    return null
  }
}

/** What one-node.json names. */
function aboutOneNode(): (file: string, name: string) => boolean {
  const list = JSON.parse(readFileSync('test/two-nodes/one-node.json', 'utf8')) as { file: string; test: string }[]
  return (file, name) =>
    list.some((one) => file.endsWith(`/test/${one.file}`) && (name === one.test || name.startsWith(`${one.test} > `)))
}

async function run({ label, args, leftOut }: Run): Promise<Counts> {
  const folder = mkdtempSync(join(tmpdir(), 'sluicemq-test-'))
  const reportPath = join(folder, 'report.json')
  const code = await runVitest(reportPath, args)
  const report = readReport(reportPath)
  rmSync(folder, { recursive: true })
  if (report === null) {
    console.log(`${label}vitest ended without a report`)
    return { passed: 0, failed: 0, skipped: [], code: code || 1 }
  }
  const skipped: string[] = []
  let left = 0
  for (const { name: file, assertionResults } of report.testResults)
    for (const { ancestorTitles, title, fullName, status } of assertionResults) {
      if (['passed', 'failed'].includes(status)) continue
      if (leftOut?.(file, [...ancestorTitles, title].join(' > '))) left++
      else skipped.push(`${label}${file}: ${fullName}`)
    }
  if (left > 0) console.log(`${label}${left} scenarios are about one node: test/two-nodes/one-node.json says why`)
  // A file that cannot even be loaded has no failed test in it and is a failure all the same.
  const unloadable = report.testResults.filter(
    ({ status, assertionResults }) => status === 'failed' && !assertionResults.some((test) => test.status === 'failed'),
  ).length
  return { passed: report.numPassedTests, failed: report.numFailedTests + unloadable, skipped, code }
}

async function main(): Promise<number> {
  console.log(`Node ${process.version}, ${availableParallelism()} cores`)
  const absent = missingPeers()
  if (absent.length > 0) install(absent)
  let complete = true
  for (const { name, neededFor, locate } of peers) {
    const place = locate()
    if (place === null) complete = false
    console.log(place === null ? `${name}: missing; ${neededFor} are skipped` : `${name}: ${place}`)
  }

  const args = process.argv.slice(2)
  const runs: Run[] = [{ label: '', args, leftOut: null }]
  const twoNodes = ['--config', 'vitest.two-nodes.config.ts', '--passWithNoTests']
  if (find('redis-server') !== null)
    runs.push({ label: 'two nodes: ', args: [...twoNodes, ...args], leftOut: aboutOneNode() })
  const all: Counts[] = []
  for (const one of runs) {
    if (one.label !== '') console.log(`\n${one.label}the scenarios of one broker, with clients spread over two`)
    all.push(await run(one))
  }
  const sum = (count: (one: Counts) => number): number => all.reduce((total, one) => total + count(one), 0)

  const skipped = all.flatMap((one) => one.skipped)
  for (const name of skipped) console.log(`skipped: ${name}`)
  let code = all.find((one) => one.code !== 0)?.code ?? 0
  if (strict && (skipped.length > 0 || !complete)) {
    console.log('CI=true: what is skipped counts as failed')
    code ||= 1
  }
  for (const [i, { passed, failed }] of all.entries())
    if (i > 0) console.log(`${runs[i]!.label}${passed} passed, ${failed} failed (counted below)`)
  const failed = sum((one) => one.failed)
  console.log(`${sum((one) => one.passed)} passed, ${failed} failed, ${skipped.length} skipped`)
  return code === 0 && failed > 0 ? 1 : code
}

process.exitCode = await main()
