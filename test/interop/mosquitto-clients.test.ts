/** mosquitto_pub and mosquitto_sub, the clients most people have at hand. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type InlineBroker, startBroker } from '../support/broker-inline.ts'

const installed = ['mosquitto_pub', 'mosquitto_sub'].every((name) => spawnSync(name, ['--help']).error === undefined)

test.runIf(process.env.CI === 'true')('mosquitto_pub and mosquitto_sub are installed (required when CI=true)', () => {
  expect(installed, 'install the Debian package mosquitto-clients').toBe(true)
})

const title = 'mosquitto_pub and mosquitto_sub (skipped when the package mosquitto-clients is not installed)'
describe.skipIf(!installed)(title, () => {
  let broker: InlineBroker
  const children: ChildProcess[] = []
  beforeAll(async () => {
    broker = await startBroker()
  })
  afterAll(async () => {
    for (const child of children) child.kill()
    await broker?.stop()
  })

  const address = () => ['-h', broker.mqtt.host, '-p', String(broker.mqtt.port)]

  /** Runs to its end and gives what it printed. */
  function run(program: string, ...args: string[]): Promise<string> {
    const child = spawn(program, [...address(), ...args])
    children.push(child)
    let text = ''
    let errors = ''
    child.stdout.on('data', (more) => {
      text += more
    })
    child.stderr.on('data', (more) => {
      errors += more
    })
    return new Promise((resolve, reject) => {
      child.on('close', (code) =>
        code === 0 ? resolve(text) : reject(new Error(`${program} ended with ${code}: ${errors}`)),
      )
    })
  }

  /** Starts a subscriber and waits until its subscription stands (it does not say so in time: its output is buffered). */
  async function subscriber(...args: string[]): Promise<{ output: Promise<string>; child: ChildProcess }> {
    const subscribed = new Promise<void>((resolve) => {
      const off = broker.events.on('clientSubscribed', () => {
        off()
        resolve()
      })
    })
    const child = spawn('mosquitto_sub', [...address(), '-W', '10', ...args])
    children.push(child)
    let text = ''
    child.stdout.on('data', (more) => {
      text += more
    })
    const output = new Promise<string>((resolve) => child.on('close', () => resolve(text)))
    await Promise.race([subscribed, output.then((all) => Promise.reject(new Error(`mosquitto_sub ended: ${all}`)))])
    return { output, child }
  }

  for (const version of ['mqttv31', 'mqttv311', 'mqttv5']) {
    test(`${version}: a message at each QoS`, async () => {
      const shown = ['-C', '3', '-F', '%q %t %p']
      const { output } = await subscriber('-V', version, '-q', '2', '-t', `m/${version}/#`, ...shown)
      for (const qos of ['0', '1', '2']) {
        await run('mosquitto_pub', '-V', version, '-q', qos, '-t', `m/${version}/${qos}`, '-m', `hello ${qos}`)
      }
      expect(await output).toBe(['0', '1', '2'].map((qos) => `${qos} m/${version}/${qos} hello ${qos}\n`).join(''))
    })

    test(`${version}: a retained message is found and removed`, async () => {
      const topic = `mr/${version}`
      await run('mosquitto_pub', '-V', version, '-q', '1', '-r', '-t', topic, '-m', 'kept')
      expect(await run('mosquitto_sub', '-V', version, '-t', topic, '-C', '1', '-W', '5', '-F', '%r %p')).toBe(
        '1 kept\n',
      )
      await run('mosquitto_pub', '-V', version, '-q', '1', '-r', '-t', topic, '-n')
      await expect(run('mosquitto_sub', '-V', version, '-t', topic, '-C', '1', '-W', '1')).rejects.toThrow(/27/)
    })

    test(`${version}: messages queued for a persistent session arrive`, async () => {
      const topic = `mp/${version}`
      const keep = ['-V', version, '-c', '-i', `keep-${version}`, '-q', '1', '-t', topic]
      if (version === 'mqttv5') keep.push('-x', '60')
      await run('mosquitto_sub', ...keep, '-E')
      for (const payload of ['1', '2', '3']) {
        await run('mosquitto_pub', '-V', version, '-q', '1', '-t', topic, '-m', payload)
      }
      expect(await run('mosquitto_sub', ...keep, '-C', '3', '-W', '5')).toBe('1\n2\n3\n')
    })
  }

  test('a will is published when mosquitto_sub is killed', async () => {
    const watching = await subscriber('-t', 'mw', '-q', '1', '-C', '1', '-F', '%p')
    const will = ['--will-topic', 'mw', '--will-payload', 'gone', '--will-qos', '1']
    const dying = await subscriber('-t', 'other', ...will)
    dying.child.kill('SIGKILL')
    expect(await watching.output).toBe('gone\n')
  })
})
