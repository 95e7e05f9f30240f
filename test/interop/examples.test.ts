/** The workers in examples/ work real messages and acknowledge them; the shell commands of examples/curl.md do what they say. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { transformWithOxc } from 'vite'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type InlineBroker, startBroker } from '../support/broker-inline.ts'
import { projectRoot } from '../support/broker-process.ts'
import { RawClient } from '../support/raw-client.ts'

let broker: InlineBroker
let dir: string
const children: ChildProcess[] = []

beforeEach(async () => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'sluicemq-examples-'))
  broker = await startBroker({ bridge: [{ topicFilter: 'devices/+/telemetry', queue: 'telemetry' }] })
})
afterEach(async () => {
  for (const child of children.splice(0)) if (child.exitCode === null) signalGroup(child, 'SIGKILL')
  await broker.stop()
  fs.rmSync(dir, { recursive: true })
})

interface Run {
  readonly child: ChildProcess
  stdout: string
  stderr: string
  /** Exit code. */
  readonly ended: Promise<number | null>
}

function run(command: string, ...args: string[]): Run {
  const child = spawn(command, args, { cwd: projectRoot(), stdio: ['ignore', 'pipe', 'pipe'], detached: true })
  children.push(child)
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve))
  const result: Run = { child, stdout: '', stderr: '', ended }
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    result.stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    result.stderr += text
  })
  return result
}

async function publish(...payloads: string[]): Promise<void> {
  const device = await RawClient.connected(broker.mqtt, { clientId: 'device-42' })
  for (const payload of payloads) await device.publish({ topic: 'devices/42/telemetry', qos: 1, payload })
  await device.disconnect()
}

/** The process and those it started: a shell's curl. */
function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  try {
    process.kill(-child.pid!, signal)
  } catch {
    // It has ended.
  }
}

const counts = async () => (await (await fetch(`${broker.http}/api/v1/queues/telemetry`)).json()) as object

/** Three messages are worked and acknowledged; then the signal ends the worker. */
async function works(worker: Run, shown: string[], signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
  await publish('{"celsius":21.5}', '{"celsius":22.5}', '{"celsius":23.5}')
  await expect
    .poll(counts, { timeout: 15_000, interval: 20, message: worker.stderr })
    .toMatchObject({ ready: 0, leased: 0, delayed: 0 })
  signalGroup(worker.child, signal)
  await worker.ended
  for (const text of shown) expect(worker.stdout + worker.stderr).toContain(text)
}

const paho = spawnSync('/usr/bin/python3', ['-I', '-c', 'import paho.mqtt.client']).status === 0

test('examples/worker.py', async () => {
  const worker = run('python3', '-u', 'examples/worker.py', broker.http, 'telemetry')
  // SIGTERM would wait for the long poll under way.
  await works(worker, ['devices/42/telemetry from device-42, attempt 1', '23.5'], 'SIGKILL')
}, 30_000)

test.skipIf(!paho)(
  'examples/worker_mqtt.py (skipped when python3-paho-mqtt is not installed)',
  async () => {
    const { host, port } = broker.mqtt
    const worker = run('/usr/bin/python3', '-I', 'examples/worker_mqtt.py', host, String(port), 'telemetry')
    await works(worker, ['devices/42/telemetry from device-42, attempt 1', '23.5'])
    expect(await worker.ended, worker.stderr).toBe(0)
  },
  30_000,
)

test('examples/worker.sh', async () => {
  const worker = run('sh', 'examples/worker.sh', broker.http, 'telemetry')
  await works(worker, ['devices/42/telemetry from device-42: {"celsius":21.5}', '{"celsius":23.5}'], 'SIGKILL')
}, 30_000)

test.each(['http', 'mqtt'])(
  'examples/worker.ts over %s',
  async (scheme) => {
    const source = fs.readFileSync(path.join(projectRoot(), 'examples/worker.ts'), 'utf8')
    const { code } = await transformWithOxc(source, 'worker.ts')
    const sdk = pathToFileURL(path.join(projectRoot(), 'dist/src/worker/index.js')).href
    const file = path.join(dir, 'worker.mjs')
    fs.writeFileSync(file, code.replace('../src/worker/index.ts', sdk))
    const url = scheme === 'http' ? broker.http : `mqtt://${broker.mqtt.host}:${broker.mqtt.port}`
    const worker = run(process.execPath, file, url, 'telemetry')
    await works(worker, ["{ '42': { count: 3, celsius: 22.5 } }"])
    expect(await worker.ended, worker.stderr).toBe(0)
  },
  30_000,
)

test('the commands of examples/curl.md', async () => {
  const text = fs.readFileSync(path.join(projectRoot(), 'examples/curl.md'), 'utf8')
  const blocks = [...text.matchAll(/```sh\n(.*?)```/gs)].map(([, block]) => block!)
  // The broker is there; receipts are those of the pull.
  const commands = blocks
    .slice(1)
    .map((block) => block.replaceAll('localhost:8080', new URL(broker.http).host))
    .map((block) => block.replaceAll('"receipt": "…"', '"receipt": "$RECEIPT"').replaceAll('["…"]', '["$RECEIPT"]'))
    // Receipts are filled in by the shell.
    .map((block) =>
      block.replaceAll(/-d '([^']*\$RECEIPT[^']*)'/g, (_, json: string) => `-d "${json.replaceAll('"', '\\"')}"`),
    )
  const shell = async (command: string, receipt = ''): Promise<string> => {
    const result = run('bash', '-euo', 'pipefail', '-c', `RECEIPT=${receipt}\n${command}`)
    expect(await result.ended, `${command}\n${result.stderr}`).toBe(0)
    expect(result.stdout, command).not.toMatch(/^\{"error"/)
    return result.stdout
  }
  expect(commands.length).toBeGreaterThan(6)
  await publish('{"celsius":21.5}')
  for (const command of commands) {
    let receipt = ''
    if (command.includes('$RECEIPT')) {
      // Each answer needs a message of its own.
      await publish('{"celsius":21.5}')
      const pulled = await shell(commands.find((one) => one.includes('/pull'))!)
      receipt = /"receipt":"([^"]+)"/.exec(pulled)![1]!
    }
    const answer = await shell(command, receipt)
    if (receipt !== '') expect(answer, command).toContain('"ok":true')
  }
}, 30_000)
