/** The package as programs in plain JavaScript use it, by its name and compiled. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { mainFile, projectRoot } from '../support/broker-process.ts'

let folder: string
beforeAll(() => {
  if (!fs.existsSync(mainFile())) throw new Error('run `npm run build` first')
  // Beside the sources, so that `sluicemq` is found as the package that it is in.
  folder = fs.mkdtempSync(path.join(projectRoot(), 'dist', 'index-test-'))
})
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }))

async function run(name: string, source: string, dataDir = os.tmpdir()): Promise<string> {
  const file = path.join(folder, name)
  fs.writeFileSync(file, source)
  const child = spawn(process.execPath, [file, dataDir], { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (chunk) => {
    stdout += chunk
  })
  child.stderr.on('data', (chunk) => {
    stderr += chunk
  })
  const [code] = await once(child, 'close')
  if (code !== 0) throw new Error(`exit code ${code}\n${stderr}`)
  return stdout
}

/** Connects a client, sends itself a message and stops: what the programs below have in common. */
const roundTrip = `
  const server = net.createServer(broker.handle)
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  const client = await mqtt.connectAsync({ host: '127.0.0.1', port: server.address().port, clientId: 'plain' })
  await client.subscribeAsync('a/b', { qos: 1 })
  const received = new Promise((resolve) => client.once('message', (topic, payload) => resolve(topic + ' ' + payload)))
  await client.publishAsync('a/b', 'hello', { qos: 1 })
  console.log(await received, broker.connectedClients)
  await client.endAsync()
  await new Promise((resolve) => broker.close(resolve))
  server.close()
`

describe('sluicemq in plain JavaScript', () => {
  test('createBroker and net.createServer(broker.handle)', async () => {
    const program = `
      import net from 'node:net'
      import mqtt from 'mqtt'
      import { createBroker } from 'sluicemq'
      const broker = await createBroker({ authenticate: (client, user, password, done) => done(null, client.id === 'plain') })
      ${roundTrip}`
    expect(await run('esm.mjs', program)).toBe('a/b hello 1\n')
  })

  test('Aedes.createBroker, required from CommonJS', async () => {
    const program = `
      const net = require('node:net')
      const mqtt = require('mqtt')
      const { Aedes, SluiceError } = require('sluicemq')
      async function main() {
        const broker = await Aedes.createBroker()
        if (!(broker instanceof Aedes)) throw new Error('not an Aedes')
        ${roundTrip}
      }
      main()`
    expect(await run('cjs.cjs', program)).toContain('a/b hello 1\n')
  })

  test('durable, with a bridge rule and its queue', async () => {
    const dataDir = fs.mkdtempSync(path.join(os.tmpdir(), 'sluicemq-index-'))
    const program = `
      import net from 'node:net'
      import mqtt from 'mqtt'
      import { createBroker } from 'sluicemq'
      const broker = await createBroker({
        config: { dataDir: process.argv[2], bridge: [{ topicFilter: 'a/+', queue: 'work' }] },
      })
      ${roundTrip.replace('await client.endAsync()', "console.log(broker.queues.get('work').ready)\nawait client.endAsync()")}`
    try {
      expect(await run('durable.mjs', program, dataDir)).toBe('a/b hello 1\n1\n')
    } finally {
      fs.rmSync(dataDir, { recursive: true, force: true })
    }
  })

  test('a wrong setting is refused by name', async () => {
    const program = `
      import { createBroker } from 'sluicemq'
      const refused = await createBroker({ config: { limits: { topicLevelMax: 3 } } }).catch((error) => error)
      console.log(refused.code, refused.message)`
    expect(await run('wrong.mjs', program)).toMatch(/^config_invalid .*topicLevelsMax/)
  })
})

test('the barrel exports what a program needs to embed, start and configure', async () => {
  const index = await import('../../src/index.ts')
  expect(Object.keys(index).sort()).toEqual([
    'Aedes',
    'Broker',
    'Events',
    'SluiceError',
    'build',
    'createBroker',
    'defaultConfig',
    'errorTable',
    'loadConfig',
    'startSluice',
  ])
})
