/**
 * What `npm test` runs. Says which real servers the tests can speak to, installs missing ones from Debian's packages
 * where it may, runs vitest, and ends with one line: `N passed, N failed, N skipped`.
 *
 * With CI=true nothing may be skipped: a missing server and a skipped test are failures.
 */
import { spawn, spawnSync } from 'node:child_process'
import { accessSync, constants, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { availableParallelism, tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'

interface Server {
  readonly command: string
  /** Debian package that brings it. */
  readonly debian: string
  readonly neededFor: string
}

const servers: readonly Server[] = [
  { command: 'mosquitto', debian: 'mosquitto', neededFor: 'tests that compare with another broker' },
  { command: 'mosquitto_pub', debian: 'mosquitto-clients', neededFor: 'tests with clients we did not write' },
]

/** The part of vitest's JSON report that is read here. */
interface Report {
  readonly numPassedTests: number
  readonly numFailedTests: number
  readonly numPendingTests: number
  readonly numTodoTests: number
  readonly testResults: readonly {
    readonly name: string
    readonly status: 'passed' | 'failed'
    readonly assertionResults: readonly { readonly fullName: string; readonly status: string }[]
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

function missingServers(): Server[] {
  return servers.filter(({ command }) => find(command) === null)
}

/** Installs the packages; says so when it cannot. */
function install(missing: readonly Server[]): void {
  const packages = missing.map(({ debian }) => debian)
  if (process.getuid?.() !== 0 || find('apt-get') === null) {
    console.log(`not installing ${packages.join(', ')}: that takes root and apt-get`)
    return
  }
  console.log(`installing ${packages.join(', ')} with apt-get`)
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  const apt = (...args: string[]): boolean => {
    const { status, stderr } = spawnSync('apt-get', args, { env, encoding: 'utf8', timeout: 120_000 })
    if (status !== 0) console.log(`apt-get ${args[0]} failed: ${(stderr ?? '').trim().split('\n').at(-1)}`)
    return status === 0
  }
  // Package lists may be too old to install from: then they are fetched and it is tried once more.
  const wanted = ['install', '-y', '--no-install-recommends', ...packages]
  if (!apt(...wanted) && apt('update')) apt(...wanted)
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

async function main(): Promise<number> {
  console.log(`Node ${process.version}, ${availableParallelism()} cores`)
  if (missingServers().length > 0) install(missingServers())
  const missing = missingServers()
  for (const server of servers) {
    const path = find(server.command)
    console.log(
      path === null ? `${server.command}: missing; ${server.neededFor} are skipped` : `${server.command}: ${path}`,
    )
  }

  const folder = mkdtempSync(join(tmpdir(), 'sluicemq-test-'))
  const reportPath = join(folder, 'report.json')
  let code = await runVitest(reportPath, process.argv.slice(2))
  const report = readReport(reportPath)
  rmSync(folder, { recursive: true })
  if (report === null) {
    console.log('vitest ended without a report')
    return code === 0 ? 1 : code
  }

  const skipped = report.testResults.flatMap(({ name, assertionResults }) =>
    assertionResults
      .filter(({ status }) => !['passed', 'failed'].includes(status))
      .map((test) => `${name}: ${test.fullName}`),
  )
  for (const name of skipped) console.log(`skipped: ${name}`)
  if (strict && (skipped.length > 0 || missing.length > 0)) {
    console.log('CI=true: what is skipped counts as failed')
    code ||= 1
  }
  // A file that cannot even be loaded has no failed test in it and is a failure all the same.
  const unloadable = report.testResults.filter(
    ({ status, assertionResults }) => status === 'failed' && !assertionResults.some((test) => test.status === 'failed'),
  ).length
  const failed = report.numFailedTests + unloadable
  console.log(`${report.numPassedTests} passed, ${failed} failed, ${skipped.length} skipped`)
  return code === 0 && failed > 0 ? 1 : code
}

process.exitCode = await main()
