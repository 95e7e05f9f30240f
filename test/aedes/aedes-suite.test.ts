/**
 * The test suite that the aedes package brings, run against our broker. What does not pass is listed in exceptions.json
 * with its reason; the list may only shrink.
 */
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { mainFile, projectRoot } from '../support/broker-process.ts'

interface Exception {
  readonly file: string
  /** `*`: the whole file is not run. */
  readonly test: string
  readonly reason: string
}

interface Outcome {
  readonly test: string
  readonly ok: boolean
  readonly skipped: boolean
  readonly error: string
}

const here = import.meta.dirname
const exceptions: Exception[] = JSON.parse(fs.readFileSync(path.join(here, 'exceptions.json'), 'utf8'))
const suite = path.join(path.dirname(createRequire(import.meta.url).resolve('aedes')), 'test')
const files = fs.readdirSync(suite).filter((name) => name.endsWith('.js') && name !== 'helper.js')
const notRun = new Set(exceptions.filter(({ test }) => test === '*').map(({ file }) => file))

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'sluicemq-aedes-'))
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }))

const knownIn = (file: string): string[] => exceptions.filter((one) => one.file === file).map((one) => one.test)

/** At most this many files at a time: the suite's own limits are tight. */
let free = 2
const waiting: (() => void)[] = []
async function withSlot<T>(work: () => Promise<T>): Promise<T> {
  if (free === 0) await new Promise<void>((resolve) => waiting.push(resolve))
  else free--
  try {
    return await work()
  } finally {
    const next = waiting.shift()
    if (next === undefined) free++
    else next()
  }
}

/** Runs one file of the suite. Tests of one name count as one. */
async function run(file: string): Promise<Map<string, Outcome>> {
  const report = path.join(folder, `${file}.${process.hrtime.bigint()}.jsonl`)
  const args = [
    `--import=${pathToFileURL(path.join(here, 'resolve.mjs')).href}`,
    '--test-force-exit',
    `--test-reporter=${pathToFileURL(path.join(here, 'reporter.mjs')).href}`,
    path.join(suite, file),
  ]
  const dist = pathToFileURL(path.join(projectRoot(), 'dist/')).href
  const known = JSON.stringify(knownIn(file))
  const env = { ...process.env, SLUICEMQ_DIST: dist, SLUICEMQ_KNOWN_FAILURES: known, SLUICEMQ_REPORT: report }
  const child = spawn(process.execPath, args, { env, stdio: ['ignore', 'ignore', 'pipe'] })
  let stderr = ''
  child.stderr.on('data', (chunk) => {
    stderr += chunk
  })
  const timer = setTimeout(() => child.kill('SIGKILL'), 50_000)
  await new Promise((resolve) => child.on('close', resolve))
  clearTimeout(timer)
  const outcomes = new Map<string, Outcome>()
  for (const line of fs.existsSync(report) ? fs.readFileSync(report, 'utf8').split('\n').filter(Boolean) : []) {
    const outcome = JSON.parse(line) as Outcome
    if (outcomes.get(outcome.test)?.ok !== false) outcomes.set(outcome.test, outcome)
  }
  if (outcomes.size === 0) throw new Error(`${file} ran no test:\n${stderr.slice(-2000)}`)
  return outcomes
}

/** What is not as the list says. */
function surprises(file: string, outcomes: ReadonlyMap<string, Outcome>): string[] {
  const known = new Set(knownIn(file))
  const found: string[] = []
  for (const { test, ok, skipped, error } of outcomes.values()) {
    if (!ok && !known.has(test)) found.push(`fails: ${test}: ${error}`)
    if (ok && !skipped && known.has(test)) found.push(`passes, take it off the list: ${test}`)
  }
  for (const test of known) if (!outcomes.has(test)) found.push(`is not in the suite: ${test}`)
  return found
}

describe.concurrent('the suite of aedes', () => {
  const toRun = files.filter((file) => !notRun.has(file))
  test.for(toRun)('%s', { timeout: 180_000 }, async (file, context) => {
    if (!fs.existsSync(mainFile())) throw new Error('run `npm run build` first')
    const first = surprises(file, await withSlot(() => run(file)))
    // Some of its tests leave 10 ms for what takes longer on a busy machine: only what happens twice counts.
    const again = first.length === 0 ? [] : surprises(file, await withSlot(() => run(file)))
    context.expect(first.filter((one) => again.some((other) => subject(other) === subject(one)))).toEqual([])
  })
})

/** The complaint without the words of the error. */
function subject(complaint: string): string {
  return complaint.startsWith('fails: ') ? complaint.split(': ', 2).join(': ') : complaint
}

test('every exception is about a file of the suite, and says why', () => {
  for (const { file, reason } of exceptions) {
    expect(files).toContain(file)
    expect(reason.length).toBeGreaterThan(20)
  }
  const keys = exceptions.map(({ file, test }) => `${file}: ${test}`)
  expect(new Set(keys).size).toBe(keys.length)
})
