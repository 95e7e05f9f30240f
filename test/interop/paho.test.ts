/** paho-mqtt for Python, as Debian packages it, over TCP and WebSocket, speaking every version it knows. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type InlineBroker, startBroker } from '../support/broker-inline.ts'

/** Debian's own, which sees Debian's packages; another one on the PATH does not. -I: whatever PYTHONPATH says. */
const python = ['/usr/bin/python3', '-I'] as const
const script = path.join(import.meta.dirname, 'paho-scenarios.py')
const installed = spawnSync(python[0], [python[1], '-c', 'import paho.mqtt.client']).status === 0

test.runIf(process.env.CI === 'true')('paho-mqtt is installed (required when CI=true)', () => {
  expect(installed, 'install the Debian package python3-paho-mqtt').toBe(true)
})

interface Line {
  way: string
  version: number
  scenario: string
  result?: unknown
  error?: string
}

const title = 'paho-mqtt (skipped when the package python3-paho-mqtt is not installed)'
describe.skipIf(!installed)(title, () => {
  let broker: InlineBroker
  let child: ChildProcess | undefined
  let lines: Line[] = []
  let errors = ''

  // One run of the script for all tests: Python and its imports take longer than most scenarios.
  beforeAll(async () => {
    broker = await startBroker()
    const ports = [String(broker.mqtt.port), new URL(broker.ws).port]
    child = spawn(python[0], [python[1], script, broker.mqtt.host, ...ports], { timeout: 55_000 })
    let text = ''
    child.stdout!.setEncoding('utf8').on('data', (more) => {
      text += more
    })
    child.stderr!.setEncoding('utf8').on('data', (more) => {
      errors += more
    })
    const [code, signal] = await once(child, 'close')
    if (code !== 0) errors += `the script ended with ${signal ?? code}`
    lines = text
      .trim()
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line))
  })
  afterAll(async () => {
    child?.kill('SIGKILL')
    await broker?.stop()
  })

  test('every scenario ran to its end', () => {
    expect(errors).toBe('')
    expect(lines.filter(({ error }) => error !== undefined)).toEqual([])
    expect(lines).toHaveLength(2 * (6 + 6 + 8))
  })

  for (const way of ['tcp', 'ws']) {
    for (const version of [3, 4, 5]) {
      describe(`protocol ${version} over ${way}`, () => {
        const root = `paho/${way}/${version}`

        function resultOf(scenario: string): unknown {
          const line = lines.find((one) => one.way === way && one.version === version && one.scenario === scenario)
          if (line?.error) throw new Error(line.error)
          if (!line) throw new Error(`the scenario did not run; ${errors}`)
          return line.result
        }

        test('publishes and receives at every QoS, with wildcards', () => {
          expect(resultOf('qos')).toEqual({
            granted: [2, 1],
            received: [
              [`${root}/qos/0`, 'hello 0 ü', 0, false],
              [`${root}/qos/1`, 'hello 1 ü', 1, false],
              [`${root}/qos/2`, 'hello 2 ü', 2, false],
              [`${root}/low/er/still`, 'hello 2 ü', 1, false],
            ],
          })
        })

        test('a payload of 300,000 bytes comes back as it was', () => {
          expect(resultOf('large')).toEqual([300_000, true])
        })

        test('finds a retained message and removes it', () => {
          expect(resultOf('retained')).toEqual({
            found: [`${root}/state`, 'on', 1, true],
            cleared: [`${root}/state`, '', 1, false],
            after: [`${root}/state`, 'first', 1, false],
          })
        })

        test('a will is published when the process is killed', () => {
          expect(resultOf('will')).toEqual([`${root}/will`, 'gone', 1, false])
        })

        test('a persistent session keeps messages in order while the client is away', () => {
          expect(resultOf('persistent')).toEqual({
            // MQTT 3.1 has no Session Present flag.
            present: [false, version > 3],
            received: Array.from({ length: 30 }, (_, i) => String(i)),
            end: 'end',
          })
        })

        test('a shared subscription gives each message to one member, in turns', () => {
          const { granted, received } = resultOf('shared') as { granted: number[]; received: [string[], string[]] }
          expect(granted).toEqual([1, 1])
          const numbers = (list: string[]) => list.map(Number)
          const inOrder = (list: number[]) => [...list].sort((a, b) => a - b)
          for (const list of received) expect(numbers(list)).toEqual(inOrder(numbers(list)))
          expect(received.map((list) => list.length)).toEqual([10, 10])
          expect(inOrder(numbers(received.flat()))).toEqual(Array.from({ length: 20 }, (_, i) => i))
        })

        if (version === 5) {
          test('properties arrive, user properties in their order [v5 MQTT-3.3.2-15] … [v5 MQTT-3.3.2-20]', () => {
            const result = resultOf('v5_properties') as { expirySeconds: number }
            expect(result).toEqual({
              contentType: 'application/json',
              responseTopic: `${root}/reply`,
              correlationData: '0001ff',
              expirySeconds: expect.any(Number),
              payloadFormat: 1,
              userProperties: [
                ['b', '1'],
                ['a', '2'],
                ['b', '3'],
                ['', 'ü'],
              ],
              subscriptionIdentifier: [7],
            })
            expect([99, 100]).toContain(result.expirySeconds)
          })

          test('a waiting message expires, another one arrives with the rest of its time [v5 MQTT-3.3.2-5] [v5 MQTT-3.3.2-6]', () => {
            const [long, forEver] = resultOf('v5_expiry') as [string, number | null][]
            expect(forEver).toEqual(['for ever', null])
            expect(long?.[0]).toBe('long')
            expect(long?.[1]).toBeGreaterThan(80)
            expect(long?.[1]).toBeLessThanOrEqual(99)
          })
        }
      })
    }
  }
})
