import { mkdtemp, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, onTestFinished } from 'vitest'
import { Persistence } from '../../src/aedes/persistence.ts'
import { systemClock } from '../../src/base/clock.ts'
import { lmdbStore } from '../../src/stores/lmdb.ts'
import { memoryStore } from '../../src/stores/memory.ts'
import { nodeTest } from '../support/node-test-shim.ts'

const require = createRequire(import.meta.url)
type AbstractTests = (options: {
  test: typeof nodeTest
  persistence: () => Promise<Persistence>
  testAsync: boolean
}) => void
const abstractTests = require('aedes-persistence/abstract.js') as AbstractTests

describe("aedes-persistence's abstract suite over the memory store", () => {
  const persistence = async () => new Persistence(memoryStore({ clock: systemClock }))
  abstractTests({ test: nodeTest, persistence, testAsync: true })
})

describe("aedes-persistence's abstract suite over the LMDB store", () => {
  const persistence = async () => {
    const dir = await mkdtemp(join(tmpdir(), 'sluicemq-persistence-'))
    onTestFinished(() => rm(dir, { recursive: true, force: true }))
    return new Persistence(lmdbStore({ dir, clock: systemClock }))
  }
  abstractTests({ test: nodeTest, persistence, testAsync: true })
})
