import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Engine } from '../../src/stores/embedded/engine.ts'
import { MemoryDisk, MemoryEngine } from '../../src/stores/embedded/memory-engine.ts'
import { EmbeddedStore } from '../../src/stores/embedded/store.ts'
import { LmdbEngine } from '../../src/stores/lmdb/engine.ts'
import { CrashableEngine } from '../support/crashable-engine.ts'
import { type CrashHarness, queueHistories } from './queue-history.ts'

function harness(makeEngine: () => Promise<Engine>, dispose: () => Promise<void>): CrashHarness {
  let engine: CrashableEngine | null = null
  return {
    async open(clock) {
      engine = new CrashableEngine(await makeEngine())
      const store = new EmbeddedStore(engine, { clock })
      await store.open()
      return store
    },
    async crash() {
      await engine?.crash()
    },
    dispose,
  }
}

function memory(): CrashHarness {
  const disk = new MemoryDisk()
  return harness(
    async () => new MemoryEngine(disk),
    async () => {},
  )
}

/** What is committed outlives our crashes wherever it lies: in memory flushes cost nothing. */
const fast = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()

function lmdb(): CrashHarness {
  let dir: string | null = null
  return harness(
    async () => {
      dir ??= await mkdtemp(join(fast, 'sluicemq-history-'))
      return new LmdbEngine(dir)
    },
    async () => {
      if (dir !== null) await rm(dir, { recursive: true })
    },
  )
}

queueHistories('the memory store', 1500, memory)
queueHistories('the LMDB store', 500, lmdb)
