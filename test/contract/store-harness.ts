/** How the contract opens each adapter of the embedded store, again and again, on the same data. */
import fs from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { type Clock, systemClock } from '../../src/base/clock.ts'
import { MemoryDisk, MemoryEngine } from '../../src/stores/embedded/memory-engine.ts'
import type { StoreEvent } from '../../src/stores/embedded/state.ts'
import { EmbeddedStore } from '../../src/stores/embedded/store.ts'
import { LmdbEngine } from '../../src/stores/lmdb/engine.ts'
import { FaultyEngine } from './store-faults.ts'

export interface StoreOptions {
  cacheBytes?: number
  onEvent?: (event: StoreEvent) => void
  clock?: Clock
}

export interface Opened {
  store: EmbeddedStore
  faults: FaultyEngine
}

export interface StoreHarness {
  /** Whether a store may be left without being closed, as a crash leaves it. */
  readonly canCrash: boolean
  /** Opens a store on the data of the harness; close the one before it first. */
  open(options?: StoreOptions): Promise<Opened>
  remove(): Promise<void>
}

export function memoryHarness(): StoreHarness {
  const disk = new MemoryDisk()
  return {
    canCrash: true,
    open: (options) => opened(new FaultyEngine(new MemoryEngine(disk)), options),
    remove: async () => {},
  }
}

export async function lmdbHarness(): Promise<StoreHarness> {
  const dir = await fs.mkdtemp(path.join(os.tmpdir(), 'sluicemq-store-'))
  return {
    canCrash: false,
    open: (options) => opened(new FaultyEngine(new LmdbEngine(dir)), options),
    remove: () => fs.rm(dir, { recursive: true, force: true }),
  }
}

async function opened(faults: FaultyEngine, options: StoreOptions = {}): Promise<Opened> {
  const store = new EmbeddedStore(faults, { clock: systemClock, ...options })
  await store.open()
  return { store, faults }
}
