/** The README's tour works by copy and paste. */
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'
import { projectRoot } from '../support/broker-process.ts'
import { lastingPort } from '../support/ports.ts'

/** The shell commands under a heading of the README. */
function commandsUnder(heading: string): string {
  const text = fs.readFileSync(path.join(projectRoot(), 'README.md'), 'utf8')
  const section = text.split(/^## /m).find((part) => part.startsWith(heading))
  const block = section && /```sh\n(.*?)```/s.exec(section)
  if (!block) throw new Error(`README.md has no shell block under "${heading}"`)
  return block[1]!
}

function shell(commands: string): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn('bash', ['-euo', 'pipefail', '-c', commands], {
    cwd: projectRoot(),
    timeout: 50_000,
    detached: true,
  })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (more) => {
    stdout += more
  })
  child.stderr.on('data', (more) => {
    stderr += more
  })
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, stdout, stderr })))
}

test('the tour: five commands from nothing to a Python worker that acknowledges a message', async () => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'sluicemq-tour-'))
  const [mqtt, http] = [await lastingPort(), await lastingPort()]
  const lines = commandsUnder('The tour').trim().split('\n')
  expect(lines).toHaveLength(5)
  // Installed and built it is already; the ports of the tour may be in use; a reader types slower than the broker starts.
  const commands = lines
    .map((line) => line.replace('npm ci', ':').replace('npm start', 'npm start --ignore-scripts'))
    .map((line) => line.replaceAll('127.0.0.1:8080', `127.0.0.1:${http}`).replace('mqtt pub', `mqtt pub -p ${mqtt}`))
    .map((line) => line.replace('python3', 'python3 -u'))
  const ready = `until curl -sf http://127.0.0.1:${http}/health/ready >/dev/null; do sleep 0.1; done`
  const drained = `until curl -sf http://127.0.0.1:${http}/api/v1/queues/telemetry | grep '"ready":0,"leased":0'; do sleep 0.1; done`
  const script = [
    'trap "kill 0" EXIT',
    `export SLUICEMQ_MQTT_PORT=${mqtt} SLUICEMQ_HTTP_PORT=${http} SLUICEMQ_DATA_DIR=${dir}`,
    ...commands.slice(0, 2),
    ready,
    ...commands.slice(2, 4),
    drained,
    commands[4],
    'trap - EXIT; kill 0',
  ].join('\n')
  const { stdout, stderr } = await shell(script)
  expect(stdout, stderr).toContain('devices/42/telemetry from')
  expect(stdout, stderr).toContain('"celsius": 21.5')
  expect(stdout.trim().split('\n').at(-1), stderr).toMatch(/"name":"telemetry","ready":0,"leased":0/)
  fs.rmSync(dir, { recursive: true })
}, 60_000)
