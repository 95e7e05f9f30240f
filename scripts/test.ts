/**
 * What `npm test` runs. Says which real servers and clients the tests can speak to, installs missing ones from Debian's
 * packages where it may, runs vitest, then the scenarios of one broker again over two nodes (docs/nodes.md). What failed is
 * told once more at the end, where whoever sees only the end of a log finds it; the last line is `N passed, N failed, N skipped`.
 *
 * With CI=true nothing may be skipped: a missing server or client and a skipped test are failures.
 */
import { spawn, spawnSync } from 'node:child_process'
import { accessSync, constants, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { availableParallelism, tmpdir } from 'node:os'
import { delimiter, join, relative } from 'node:path'

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
    /** Why the file could not be loaded, or a hook of it failed. */
    readonly message: string
    readonly assertionResults: readonly {
      readonly ancestorTitles: readonly string[]
      readonly title: string
      readonly fullName: string
      readonly status: string
      readonly failureMessages?: readonly string[]
    }[]
  }[]
}

/** Several times what a run takes. */
const RUN_MINUTES_MAX = 30

/** Of what failed so many are told again at the end, and of each so many characters. */
const TOLD_MAX = 12
const TOLD_CHARACTERS = 1500

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

/** What came of a run. */
interface Outcome {
  readonly passed: number
  /** Tests, and files that could not be loaded: what they are called, and why. */
  readonly failures: readonly { readonly name: string; readonly reason: string }[]
  readonly skipped: readonly string[]
  readonly code: number
}

function runVitest(report: string, args: readonly string[]): Promise<number> {
  const vitest = join(createRequire(import.meta.url).resolve('vitest/package.json'), '..', 'vitest.mjs')
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`]
  const child = spawn(process.execPath, [vitest, 'run', ...reporters, ...args], { stdio: 'inherit' })
  const hung = setTimeout(() => {
    console.log(`vitest has not ended in ${RUN_MINUTES_MAX} minutes: a test file without a line above hangs`)
    child.kill('SIGKILL')
  }, RUN_MINUTES_MAX * 60_000)
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('exit', (code, signal) => {
      clearTimeout(hung)
      resolve(code ?? (signal === null ? 1 : 128))
    })
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

async function run({ label, args, leftOut }: Run): Promise<Outcome> {
  const folder = mkdtempSync(join(tmpdir(), 'sluicemq-test-'))
  const reportPath = join(folder, 'report.json')
  const code = await runVitest(reportPath, args)
  const report = readReport(reportPath)
  rmSync(folder, { recursive: true })
  if (report === null) {
    const reason = `ended with ${code} and without a report`
    return { passed: 0, failures: [{ name: `${label}vitest`, reason }], skipped: [], code: code || 1 }
  }
  const skipped: string[] = []
  const failures: { name: string; reason: string }[] = []
  let left = 0
  for (const { name, status: ofFile, message, assertionResults } of report.testResults) {
    const file = relative('.', name)
    for (const { ancestorTitles, title, fullName, status, failureMessages } of assertionResults) {
      if (status === 'passed') continue
      if (status === 'failed')
        failures.push({ name: `${label}${file}: ${fullName}`, reason: failureMessages?.join('\n') ?? '' })
      else if (leftOut?.(name, [...ancestorTitles, title].join(' > '))) left++
      else skipped.push(`${label}${file}: ${fullName}`)
    }
    // A file that cannot even be loaded has no failed test in it and is a failure all the same.
    if (ofFile === 'failed' && !assertionResults.some(({ status }) => status === 'failed'))
      failures.push({ name: `${label}${file}`, reason: message })
  }
  if (left > 0) console.log(`${label}${left} scenarios are about one node: test/two-nodes/one-node.json says why`)
  if (code !== 0 && failures.length === 0)
    failures.push({
      name: `${label}vitest`,
      reason: `ended with ${code}, though no test failed: an error nobody handled, above`,
    })
  return { passed: report.numPassedTests, failures, skipped, code }
}

function tell(failures: Outcome['failures']): void {
  for (const { name, reason } of failures.slice(0, TOLD_MAX))
    console.log(`\nFAILED ${name}\n${reason.slice(0, TOLD_CHARACTERS).trimEnd().replaceAll(/^/gm, '    ')}`)
  if (failures.length > TOLD_MAX) console.log(`\n… and ${failures.length - TOLD_MAX} more`)
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
  const all: Outcome[] = []
  for (const one of runs) {
    if (one.label !== '') console.log(`\n${one.label}the scenarios of one broker, with clients spread over two`)
    all.push(await run(one))
  }

  const failures = all.flatMap((one) => one.failures)
  const skipped = all.flatMap((one) => one.skipped)
  tell(failures)
  for (const name of skipped) console.log(`skipped: ${name}`)
  let code = all.find((one) => one.code !== 0)?.code ?? 0
  if (strict && (skipped.length > 0 || !complete)) {
    console.log('CI=true: what is skipped counts as failed')
    code ||= 1
  }
  for (const [i, { passed, failures }] of all.entries())
    if (i > 0) console.log(`${runs[i]!.label}${passed} passed, ${failures.length} failed (counted below)`)
  const passed = all.reduce((sum, one) => sum + one.passed, 0)
  console.log(`${passed} passed, ${failures.length} failed, ${skipped.length} skipped`)
  return code === 0 && failures.length > 0 ? 1 : code
}

process.exitCode = await main()
