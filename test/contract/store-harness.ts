/** How the contract opens each adapter of the embedded store, again and again, on the same data. */
import fs from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { type Clock, systemClock } from '../../src/base/clock.ts'
import type { Store } from '../../src/store.ts'
import type { StoreInspection } from '../../src/stores/embedded/inspect.ts'
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

/** What is left in a store; see `StoreInspection`. */
export type Left = StoreInspection

/** Makes commits fail or wait. */
export interface Faults {
  failNext(n?: number): void
  heal(): void
  hold(): void
  letGo(): void
  /** The store is as good as dead: only where `canCrash`. */
  cut(): void
  readonly batches: number
}

export interface Opened {
  store: Store
  faults: Faults
  inspect(): Promise<Left>
}

export interface StoreHarness {
  /** Whether a store may be left without being closed, as a crash leaves it. */
  readonly canCrash: boolean
  /** Entries lie in chunks and bodies in segments, so that how many there are is known. */
  readonly exact: boolean
  /** Opens a store on the data of the harness; close the one before it first. */
  open(options?: StoreOptions): Promise<Opened>
  remove(): Promise<void>
}

export function memoryHarness(): StoreHarness {
  const disk = new MemoryDisk()
  return {
    canCrash: true,
    exact: true,
    open: (options) => opened(new FaultyEngine(new MemoryEngine(disk)), options),
    remove: async () => {},
  }
}

export async function lmdbHarness(): Promise<StoreHarness> {
  const dir = await fs.mkdtemp(path.join(os.tmpdir(), 'sluicemq-store-'))
  return {
    canCrash: false,
    exact: true,
    open: (options) => opened(new FaultyEngine(new LmdbEngine(dir)), options),
    remove: () => fs.rm(dir, { recursive: true, force: true }),
  }
}

async function opened(faults: FaultyEngine, options: StoreOptions = {}): Promise<Opened> {
  const store = new EmbeddedStore(faults, { clock: systemClock, ...options })
  await store.open()
  return { store, faults, inspect: async () => store.inspect() }
}
