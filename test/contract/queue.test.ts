import { MemoryEngine } from '../../src/stores/embedded/memory-engine.ts'
import { EmbeddedStore } from '../../src/stores/embedded/store.ts'
import { queueContract, type StoreHarness } from './queue-contract.ts'
import { queueModel } from './queue-model.ts'

function memory(): StoreHarness {
  // The engine outlives the store on it, as a disk does.
  const engine = new MemoryEngine()
  return {
    async open(clock) {
      const store = new EmbeddedStore(engine, { clock })
      await store.open()
      return store
    },
    async dispose() {},
  }
}

queueContract('the memory store', memory)
queueModel('the memory store', 300, memory)
