/**
 * What a stored session costs in memory: the difference between a broker with many and one with none, after collections. The
 * process of a million sessions (`bench/million-sessions.ts`) stands on these bytes.
 */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { createBroker } from '../../src/embed.ts'
import type { SubscriptionRecord } from '../../src/store.ts'
import { lmdbStore } from '../../src/stores/lmdb.ts'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

const SESSIONS = 30_000
/** It is 362, of which 80 are the texts of Client Identifier and Topic Filter. A number with a fraction would add 24. */
const BYTES_PER_SESSION_MAX = 380
const FOR_EVER = 0xffffffff

let dataDir: string
beforeEach(() => {
  dataDir = fs.mkdtempSync(path.join(os.tmpdir(), 'sluicemq-memory-'))
})
afterEach(() => fs.rmSync(dataDir, { recursive: true, force: true }))

/** Live bytes of the heap, and of what lies beside it in array buffers. */
async function liveBytes(): Promise<number> {
  for (let i = 0; i < 4; i++) {
    // What was closed is let go of in the turns after.
    await turn()
    collect()
  }
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}

async function fill(from: number, to: number): Promise<void> {
  const store = lmdbStore({ dir: dataDir, clock: systemClock })
  await store.open()
  const disconnectedAt = systemClock.now() - 60_000
  for (let i = from; i < to; i++) {
    const clientId = `device-${100_000 + i}`
    // A few are for ever, and all have left at some millisecond: neither may make the others larger.
    const expirySeconds = i % 10 === 0 ? FOR_EVER : 604_800
    const facts = { version: 4, expirySeconds, disconnectedAt: disconnectedAt + (i % 999), maybeSentBefore: 0 }
    store.putSession({ clientId, ...facts, lane: `s/${clientId}` })
    store.putSubscription(clientId, subscription(`devices/${clientId}/commands`))
    if (i % 5000 === 4999) await store.commit()
  }
  await store.close()
}

function subscription(topicFilter: string): SubscriptionRecord {
  return { topicFilter, qos: 1, noLocal: false, retainAsPublished: false, retainHandling: 0, subscriptionIdentifier: 0 }
}

/** Live bytes of a broker over what is in the data folder, and its sessions. */
async function start(): Promise<{ bytes: number; sessions: number }> {
  const before = await liveBytes()
  const broker = await createBroker({ config: { dataDir } })
  const bytes = (await liveBytes()) - before
  const sessions = broker.core.sessions.size
  await new Promise<void>((resolve) => broker.close(resolve))
  return { bytes, sessions }
}

test(`a stored session with a subscription takes at most ${BYTES_PER_SESSION_MAX} bytes of memory`, async () => {
  // Once without measuring: code is compiled, pools are filled.
  await fill(0, 1000)
  await start()
  const few = [await start(), await start()]
  await fill(1000, SESSIONS)
  const many = [await start(), await start()]
  expect([...few, ...many].map(({ sessions }) => sessions)).toEqual([1000, 1000, SESSIONS, SESSIONS])
  // What is compiled or cached meanwhile counts as well: at least once there is little of it.
  const least = (runs: { bytes: number }[]): number => Math.min(...runs.map(({ bytes }) => bytes))
  const bytes = (least(many) - least(few)) / (SESSIONS - 1000)
  console.log(`${bytes.toFixed(0)} bytes a session`)
  expect(bytes).toBeLessThan(BYTES_PER_SESSION_MAX)
  // Less than the texts alone would mean that something else was measured.
  expect(bytes).toBeGreaterThan(150)
})
