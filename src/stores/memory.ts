/** The memory adapter of the store: the embedded store over a map. What it holds lives as long as the process. */
import type { Store } from '../store.ts'
import { MemoryEngine } from './embedded/memory-engine.ts'
import type { EmbeddedOptions } from './embedded/state.ts'
import { EmbeddedStore } from './embedded/store.ts'

export function memoryStore(options: EmbeddedOptions): Store {
  return new EmbeddedStore(new MemoryEngine(), options)
}
