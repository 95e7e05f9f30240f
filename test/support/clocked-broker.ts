import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { build } from '../../src/broker.ts'
import { type ConfigInput, configSchema } from '../../src/config/schema.ts'
import type { Core } from '../../src/connection/core.ts'
import type { Store } from '../../src/store.ts'
import { lmdbStore } from '../../src/stores/lmdb.ts'
import { Events } from '../../src/telemetry/events.ts'
import { HandClock } from './hand-clock.ts'
import { RawClient } from './raw-client.ts'
import type { RawConnect } from './raw-packets.ts'
import { serve } from './spread.ts'

interface Running {
  readonly target: { host: string; port: number }
  readonly core: Core
  stop(): Promise<void>
}

/** A broker over a store on disk whose clock is moved by hand; connections are real. */
export class ClockedBroker {
  readonly clock: HandClock
  readonly events = new Events()
  /** Wraps the store, to watch it. */
  wrap: (store: Store) => Store = (store) => store
  private readonly config: ConfigInput
  private readonly dataDir = fs.mkdtempSync(path.join(os.tmpdir(), 'sluicemq-clocked-'))
  private running: Running | null = null

  private constructor(config: ConfigInput, clock: HandClock) {
    this.config = config
    this.clock = clock
  }

  static async start(config: ConfigInput = {}, clock = new HandClock()): Promise<ClockedBroker> {
    const broker = new ClockedBroker(config, clock)
    await broker.run()
    return broker
  }

  get target(): { host: string; port: number } {
    return this.running!.target
  }

  /** The parts that serve connections. */
  get core(): Core {
    return this.running!.core
  }

  private async run(): Promise<void> {
    const { clock, events, dataDir } = this
    const config = configSchema.parse({ sys: { intervalSeconds: 0 }, ...this.config, dataDir })
    const { broker } = build({ config, store: this.wrap(lmdbStore({ dir: dataDir, clock })), clock, events })
    await broker.listen()
    const server = await serve((socket) => void broker.handle(socket))
    const stop = async () => {
      const closed = server.close()
      await new Promise<void>((resolve) => broker.close(resolve))
      await closed
    }
    this.running = { target: server.address, core: broker.core, stop }
  }

  async restart(whileDown: () => void): Promise<void> {
    await this.running!.stop()
    whileDown()
    await this.run()
  }

  async stop(): Promise<void> {
    await this.running?.stop()
    fs.rmSync(this.dataDir, { recursive: true, force: true })
  }

  /** A client of MQTT 5 that takes up its session. */
  connect(clientId: string, more: RawConnect = {}): Promise<RawClient> {
    return RawClient.connected(this.target, { clientId, version: 5, clean: false, ...more })
  }

  /** Whether the client's session is there. With MQTT 5, asking ends it. */
  async present(clientId: string, version: 4 | 5 = 5): Promise<boolean> {
    const client = await RawClient.open(this.target)
    const { sessionPresent } = await client.connect({ clientId, version, clean: false })
    await client.disconnect()
    return sessionPresent
  }
}
