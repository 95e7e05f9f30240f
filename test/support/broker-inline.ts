/**
 * A broker inside the test's own process, for tests that set hooks, break the store or look at events.
 *
 * With `SLUICEMQ_TEST_TARGET=stock-aedes` the same tests run against Aedes as it comes from npm: the regression tests
 * named `aedes#N` must fail there, which shows that they can.
 */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import type { Aedes } from 'aedes'
import { type ConfigInput, configSchema } from '../../src/config/schema.ts'
import { StoreFaults } from './faulty-store.ts'
import { startStockAedes } from './stock-aedes.ts'

export interface InlineBroker {
  readonly mqtt: { host: string; port: number }
  /** URL of MQTT over WebSocket. */
  readonly ws: string
  /** Base URL of the HTTP face. */
  readonly http: string
  /** The Aedes face: hooks are assigned here. */
  readonly aedes: Aedes
  /** Breaks and slows the store. */
  readonly faults: StoreFaults
  /** Stops in good order and starts again with the same data (and other ports). */
  restart(): Promise<void>
  stop(): Promise<void>
}

export const targetIsStock: boolean = process.env.SLUICEMQ_TEST_TARGET === 'stock-aedes'

/** Starts on free loopback ports. The memory store unless the config says otherwise; a temporary data folder. */
export async function startBroker(overrides: ConfigInput = {}): Promise<InlineBroker> {
  const faults = new StoreFaults()
  if (targetIsStock) return startStockAedes(faults)
  const dataDir = fs.mkdtempSync(path.join(os.tmpdir(), 'sluicemq-inline-'))
  const { startSluice } = await import('../../src/broker.ts')
  const config = configSchema.parse({
    store: 'memory',
    log: { level: 'silent' },
    dataDir,
    ...overrides,
    mqttPort: 0,
    httpPort: 0,
  })
  const start = () => startSluice(config, { store: (store) => faults.wrap(store) })
  let running = await start()
  return {
    get mqtt() {
      return running.addresses.mqtt
    },
    get ws() {
      return running.addresses.ws
    },
    get http() {
      return `http://${running.addresses.http.host}:${running.addresses.http.port}`
    },
    get aedes() {
      return running.broker
    },
    faults,
    async restart() {
      await running.stop()
      running = await start()
    },
    async stop() {
      faults.heal()
      await running.stop()
      fs.rmSync(dataDir, { recursive: true, force: true })
    },
  }
}
