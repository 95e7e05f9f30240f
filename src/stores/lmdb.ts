/** The LMDB adapter of the store: the embedded store on one LMDB file. */
import type { Store } from '../store.ts'
import type { EmbeddedOptions } from './embedded/state.ts'
import { EmbeddedStore } from './embedded/store.ts'
import { LmdbEngine } from './lmdb/engine.ts'

export interface LmdbOptions extends EmbeddedOptions {
  /** Data directory; made if absent. One process at a time. */
  dir: string
}

export function lmdbStore(options: LmdbOptions): Store {
  return new EmbeddedStore(new LmdbEngine(options.dir), options)
}
