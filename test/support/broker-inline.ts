/**
 * A broker inside the test's own process, for tests that set hooks, break the store or look at events.
 *
 * With `SLUICEMQ_TEST_TARGET=stock-aedes` the tests of the embedded broker run against Aedes as it comes from npm: the
 * regression tests named `aedes#N` must fail there, which shows that they can.
 */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import type { Aedes } from 'aedes'
import { startSluice } from '../../src/broker.ts'
import { type ConfigInput, configSchema } from '../../src/config/schema.ts'
import { createBroker } from '../../src/embed.ts'
import { Events } from '../../src/telemetry/events.ts'
import { StoreFaults } from './faulty-store.ts'
import { type Address, nodesOfTests, serve } from './spread.ts'
import { startStockAedes } from './stock-aedes.ts'
import { type Configured, embedNodes, startNodes } from './two-nodes.ts'

/** Everything `sluicemq start` serves, in this process. */
export interface InlineBroker {
  readonly mqtt: Address
  /** URL of MQTT over WebSocket. */
  readonly ws: string
  /** Base URL of the HTTP face. */
  readonly http: string
  /** Of every node. */
  readonly nodes: readonly string[]
  readonly events: Events
  stop(): Promise<void>
}

/** A broker as a program embeds it: TCP connections are given to `handle`. */
export interface EmbeddedBroker {
  readonly mqtt: Address
  /** The Aedes face: hooks are assigned here. */
  readonly aedes: Aedes
  readonly events: Events
  /** Breaks and slows the store. */
  readonly faults: StoreFaults
  /** Stops in good order and starts again with the same data (and another port). */
  restart(): Promise<void>
  stop(): Promise<void>
}

function configure(overrides: ConfigInput): Configured {
  const dataDir = fs.mkdtempSync(path.join(os.tmpdir(), 'sluicemq-inline-'))
  const fixed = { log: { level: 'silent' as const }, dataDir, mqttPort: 0, httpPort: 0 }
  const config = configSchema.parse({ store: 'memory', ...overrides, ...fixed })
  return { config, removeFiles: () => fs.rmSync(dataDir, { recursive: true, force: true }) }
}

/** Starts on free loopback ports. The memory store unless the config says otherwise; a temporary data folder. */
export async function startBroker(overrides: ConfigInput = {}): Promise<InlineBroker> {
  const configured = configure(overrides)
  if (nodesOfTests > 1) return startNodes(configured)
  const { config, removeFiles } = configured
  const events = new Events()
  const sluice = await startSluice(config, { events })
  const { mqtt, http, ws } = sluice.addresses
  return {
    mqtt,
    ws,
    http: `http://${http.host}:${http.port}`,
    nodes: [`http://${http.host}:${http.port}`],
    events,
    async stop() {
      await sluice.stop()
      removeFiles()
    },
  }
}

/** Starts the embedding face over a store that can be broken; `store: memory` does not survive a restart. */
export async function embedBroker(overrides: ConfigInput = {}): Promise<EmbeddedBroker> {
  const faults = new StoreFaults()
  if (process.env.SLUICEMQ_TEST_TARGET === 'stock-aedes') return startStockAedes(faults)
  const configured = configure(overrides)
  if (nodesOfTests > 1) return embedNodes(configured)
  const { config, removeFiles } = configured
  const events = new Events()
  const start = async () => {
    const store = faults.store(config.store === 'lmdb' ? 'lmdb' : 'memory', config.dataDir)
    const broker = await createBroker({ config, events, store })
    const server = await serve((socket) => void broker.handle(socket))
    const stop = async () => {
      const closed = server.close()
      await new Promise<void>((resolve) => broker.close(resolve))
      await closed
    }
    return { broker, mqtt: server.address, stop }
  }
  let running = await start()
  return {
    get mqtt() {
      return running.mqtt
    },
    get aedes() {
      return running.broker as unknown as Aedes
    },
    events,
    faults,
    async restart() {
      await running.stop()
      running = await start()
    },
    async stop() {
      faults.heal()
      await running.stop()
      removeFiles()
    },
  }
}
