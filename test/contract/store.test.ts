import { storeContract } from './store-contract.ts'
import { lmdbHarness, memoryHarness } from './store-harness.ts'

storeContract('memory', memoryHarness)
storeContract('lmdb', lmdbHarness)
