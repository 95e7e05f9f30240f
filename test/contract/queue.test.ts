import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { MemoryEngine } from '../../src/stores/embedded/memory-engine.ts'
import { EmbeddedStore } from '../../src/stores/embedded/store.ts'
import { lmdbStore } from '../../src/stores/lmdb.ts'
import { queueContract, type StoreHarness } from './queue-contract.ts'
import { queueControlContract } from './queue-control-contract.ts'
import { queueModel } from './queue-model.ts'
import { queueOrderContract } from './queue-order-contract.ts'
import { queueRoomContract } from './queue-room-contract.ts'

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

function lmdb(): StoreHarness {
  let dir: string | null = null
  return {
    async open(clock) {
      dir ??= await mkdtemp(join(tmpdir(), 'sluicemq-queue-'))
      const store = lmdbStore({ dir, clock })
      await store.open()
      return store
    },
    async dispose() {
      if (dir !== null) await rm(dir, { recursive: true })
    },
  }
}

queueContract('the memory store', memory)
queueModel('the memory store', 1000, memory)
queueContract('the LMDB store', lmdb)
queueModel('the LMDB store', 25, lmdb)
queueOrderContract('the memory store', memory)
queueOrderContract('the LMDB store', lmdb)
queueControlContract('the memory store', memory)
queueControlContract('the LMDB store', lmdb)
queueRoomContract('the memory store', memory)
queueRoomContract('the LMDB store', lmdb)
