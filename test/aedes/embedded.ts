/** A broker as a program embeds it, for the tests of this folder: `Aedes` behind a TCP listener, stopped after the test. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { Aedes, type EmbedOptions } from '../../src/embed.ts'
import { RawClient } from '../support/raw-client.ts'
import type { RawConnect } from '../support/raw-packets.ts'
import { serve } from '../support/spread.ts'

export interface Embedded {
  readonly broker: Aedes
  /** Connects and insists on being accepted. */
  join(options?: RawConnect): Promise<RawClient>
  /** Opens a connection and says nothing. */
  open(): Promise<RawClient>
  stop(): Promise<void>
}

export async function embed(options: EmbedOptions = {}): Promise<Embedded> {
  const broker = await Aedes.createBroker(options)
  const server = await serve(broker.handle)
  let stopped: Promise<void> | null = null
  const stop = (): Promise<void> => {
    stopped ??= (async () => {
      const closed = server.close()
      await new Promise<void>((resolve) => broker.close(resolve))
      await closed
    })()
    return stopped
  }
  onTestFinished(stop)
  return {
    broker,
    join: (connect) => RawClient.connected(server.address, connect),
    open: () => RawClient.open(server.address),
    stop,
  }
}

export async function temporaryDir(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'sluicemq-aedes-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  return dir
}

/** Resolves with the arguments of the next event of this name. */
export function next(emitter: { once(event: never, listener: never): unknown }, event: string): Promise<unknown[]> {
  return new Promise((resolve) => emitter.once(event as never, ((...args: unknown[]) => resolve(args)) as never))
}
