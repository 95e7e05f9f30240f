import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { Backlog } from '../../src/session/backlog.ts'
import type { Lane, Store } from '../../src/store.ts'
import { memoryStore } from '../../src/stores/memory.ts'

let store: Store
let lane: Lane
let backlog: Backlog
let wake: (() => void) | null

beforeEach(async () => {
  store = memoryStore({ clock: systemClock })
  await store.open()
  lane = store.lane('s/client')
  wake = null
  backlog = new Backlog(
    store,
    lane,
    () => wake?.(),
    () => {},
  )
  lane.onCommitted = (chunk) => backlog.committed(chunk)
})
afterEach(() => store.close())

const append = (...texts: string[]): void => {
  for (const text of texts) store.append(Buffer.from(text), [{ lane, tag: 1, extra: null }])
}

/** Takes everything there is, waiting for reads; stops when `count` entries came. */
async function take(count: number): Promise<string[]> {
  const taken: string[] = []
  while (taken.length < count) {
    if (backlog.peek()) {
      taken.push(backlog.message.toString())
      backlog.next()
    } else {
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
  }
  return taken
}

describe('the backlog of a persistent session', () => {
  test('comes before what is committed later, in one order [v3 MQTT-4.6.0-1]', async () => {
    append('1', '2')
    await store.commit()
    append('3')
    await store.commit()
    expect(await take(1)).toEqual(['1'])
    append('4')
    await store.commit()
    expect(await take(3)).toEqual(['2', '3', '4'])
    append('5')
    await store.commit()
    expect(await take(1)).toEqual(['5'])
  })

  test('gives an entry that was appended but not committed only after its commit, and does not skip it', async () => {
    append('1')
    await store.commit()
    expect(await take(1)).toEqual(['1'])
    append('2')
    // Looked for while it is on its way: caught up, nothing to take.
    expect(backlog.peek()).toBe(false)
    await new Promise(setImmediate)
    expect(backlog.peek()).toBe(false)
    await store.commit()
    expect(await take(1)).toEqual(['2'])
  })

  test('starts again from the oldest unsettled entry for a new connection', async () => {
    append('1', '2', '3', '4')
    await store.commit()
    expect(await take(3)).toEqual(['1', '2', '3'])
    store.settle(lane, 2)
    await store.commit()
    backlog.release()
    backlog.rewind()
    expect(await take(3)).toEqual(['1', '3', '4'])
  })

  test('forgets a read that was under way when the connection changed', async () => {
    append('1', '2')
    await store.commit()
    expect(backlog.peek()).toBe(false)
    backlog.rewind()
    expect(await take(2)).toEqual(['1', '2'])
    expect(backlog.peek()).toBe(false)
  })

  test('notices what is committed while a read is under way', async () => {
    append('1')
    await store.commit()
    expect(backlog.peek()).toBe(false)
    append('2')
    const committed = store.commit()
    expect(await take(1)).toEqual(['1'])
    await committed
    expect(await take(1)).toEqual(['2'])
  })
})
