/** The README's tour works by copy and paste. */
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { BrokerProcess, projectRoot } from '../support/broker-process.ts'

/** The shell commands under a heading of the README. */
function commandsUnder(heading: string): string {
  const text = fs.readFileSync(path.join(projectRoot(), 'README.md'), 'utf8')
  const section = text.split(/^## /m).find((part) => part.startsWith(heading))
  const block = section && /```sh\n(.*?)```/s.exec(section)
  if (!block) throw new Error(`README.md has no shell block under "${heading}"`)
  return block[1]!
}

function shell(commands: string): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn('bash', ['-euo', 'pipefail', '-c', commands], { cwd: projectRoot(), timeout: 30_000 })
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

test('the tour publishes, pulls and acknowledges', async () => {
  const broker = await BrokerProcess.start()
  try {
    // The tour uses the default ports; here the broker has others.
    const commands = commandsUnder('The tour')
      .replaceAll('http://127.0.0.1:8080', broker.http)
      .replaceAll('mqtt pub ', `mqtt pub -p ${broker.mqtt.port} `)
      .replaceAll('mosquitto_pub ', `mosquitto_pub -p ${broker.mqtt.port} `)
    const { code, stdout, stderr } = await shell(commands)
    expect(code, stderr).toBe(0)
    expect(stdout).toContain('devices/42/telemetry')
    expect(stdout).toContain('celsius')
    expect(stdout).toMatch(/"ok":\s*true/)
    const queue = await fetch(`${broker.http}/api/v1/queues/telemetry`)
    expect(await queue.json()).toMatchObject({ ready: 0, leased: 0 })
  } finally {
    await broker.stop()
  }
}, 40_000)
