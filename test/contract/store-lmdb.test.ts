/** What only the LMDB store promises: surviving SIGKILL, one process at a time, and refusing what it cannot read. */
import fs from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import type { Store } from '../../src/store.ts'
import { DATA_FILE } from '../../src/stores/lmdb/engine.ts'
import { lmdbStore } from '../../src/stores/lmdb.ts'
import { body, collect, target, waitingTexts } from './store-contract.ts'
import { compileStore, type StoreProcess, startStore } from './store-process.ts'

const ROUNDS = 20

describe('the LMDB store', () => {
  let compiled: string
  let dir: string
  const processes: StoreProcess[] = []
  const stores: Store[] = []

  beforeAll(async () => {
    compiled = await compileStore()
  })
  afterAll(() => fs.rm(compiled, { recursive: true, force: true }))
  beforeEach(async () => {
    dir = await fs.mkdtemp(path.join(os.tmpdir(), 'sluicemq-lmdb-'))
  })
  afterEach(async () => {
    for (const each of processes.splice(0)) await each.kill()
    for (const each of stores.splice(0)) await each.close()
    await fs.rm(dir, { recursive: true, force: true })
  })

  const start = (script: string, prefix?: string[]): StoreProcess => {
    const started = startStore(compiled, dir, script, prefix)
    processes.push(started)
    return started
  }
  const open = async (): Promise<Store> => {
    const store = lmdbStore({ dir, clock: systemClock })
    await store.open()
    stores.push(store)
    return store
  }
  const close = async (store: Store): Promise<void> => {
    stores.splice(stores.indexOf(store), 1)
    await store.close()
  }
  const lane = (store: Store, name: string) => target(store.lane(name))
  const someGroup = async (): Promise<void> => {
    const store = await open()
    for (let i = 0; i < 200; i++) store.append(body(`${i} ${'x'.repeat(500)}`), [lane(store, 'q/a')])
    await close(store)
  }

  it(`has every group it acknowledged, whole, after SIGKILL at any moment, ${ROUNDS} times`, async () => {
    // Each group: three entries into both lanes, one settled in each, and the number of the group as a retained message.
    const script = `
      let group = Math.round((lane('a').nextSeq - 1) / 3)
      const both = targets('a', 'b')
      const pause = () => new Promise((resolve) => setImmediate(resolve))
      for (;;) {
        const number = ++group
        for (let i = 0; i < 3; i++) store.append(Buffer.from(number + '.' + i + '.' + 'x'.repeat(number * 37 % 900)), both)
        store.settle(lane('a'), number * 3)
        store.settle(lane('b'), number * 3 - 6)
        store.putRetained('group', Buffer.from(String(number)))
        store.commit().then(() => say(String(number)), (error) => say('failed ' + error.message))
        if (group % 3 === 0) await pause()
      }`
    let acknowledged = 0
    for (let round = 0; round < ROUNDS; round++) {
      const child = start(script)
      await child.count(1 + ((round * 7) % 23))
      await child.kill()
      for (const line of child.lines) acknowledged = Math.max(acknowledged, Number(line))
      expect(Number.isNaN(acknowledged)).toBe(false)

      const store = await open()
      const groups = (store.lane('a').nextSeq - 1) / 3
      expect(Number.isInteger(groups)).toBe(true)
      expect(groups).toBeGreaterThanOrEqual(acknowledged)
      expect(store.lane('b').nextSeq).toBe(store.lane('a').nextSeq)
      expect((await collect(store.retained())).map(({ message }) => message.toString())).toEqual([String(groups)])
      const seqs = (name: string) => waitingTexts(store, store.lane(name)).then((all) => all.map(([seq]) => seq))
      const all = [...new Array(groups * 3).keys()].map((i) => i + 1)
      expect(await seqs('a')).toEqual(all.filter((seq) => seq % 3 !== 0))
      expect(await seqs('b')).toEqual(all.filter((seq) => seq % 3 !== 0 || seq > groups * 3 - 6))
      for (const [seq, text] of await waitingTexts(store, store.lane('a'))) {
        const number = Math.ceil(seq / 3)
        expect(text).toBe(`${number}.${(seq - 1) % 3}.${'x'.repeat((number * 37) % 900)}`)
      }
      await close(store)
    }
    expect(acknowledged).toBeGreaterThan(ROUNDS)
  }, 60_000)

  it('goes on removing a dropped lane after SIGKILL', async () => {
    const child = start(`
      const both = targets('a', 'b')
      for (let i = 0; i < 1500; i++) { store.append(Buffer.from('x'), both); if (i % 2 === 0) await store.commit() }
      store.dropLane(lane('a'))
      await store.commit()
      say('dropped')
      await new Promise(() => {})`)
    await child.line('dropped')
    await child.kill()
    const events: unknown[] = []
    const store = lmdbStore({
      dir,
      clock: systemClock,
      onEvent: (event) => {
        events.push(event.type)
      },
    })
    await store.open()
    stores.push(store)
    expect(store.lane('a').waiting).toBe(0)
    for (let i = 0; i < 1000 && events.length === 0; i++) {
      store.putMeta('tick', i)
      await store.commit()
    }
    expect(events).toEqual(['lane-removed'])
    expect((await waitingTexts(store, store.lane('b'))).length).toBe(1500)
  }, 60_000)

  it('refuses a directory that another process uses, and takes it over once that is killed', async () => {
    const first = start(`say('open'); await new Promise((resolve) => setTimeout(resolve, 60000))`)
    await first.line('open')
    await expect(open()).rejects.toMatchObject({ code: 'store_locked' })
    await expect(open()).rejects.toThrow(String(first.child.pid))
    const second = start(`say('open')`)
    expect(await second.line('')).toBe('refused store_locked')
    await first.kill()
    const store = await open()
    const third = start(`say('open')`)
    expect(await third.line('')).toBe('refused store_locked')
    await close(store)
    const fourth = start(`say('open'); await store.close()`)
    expect(await fourth.line('')).toBe('open')
    expect(await fourth.ended).toBe(0)
  }, 60_000)

  it('refuses a directory that is open in this process', async () => {
    const store = await open()
    await expect(open()).rejects.toMatchObject({ code: 'store_locked' })
    store.append(body('x'), [lane(store, 'a')])
    await store.commit()
    await close(store)
    expect((await open()).lane('a').waiting).toBe(1)
  })

  it('opens anew a file that was created and never written', async () => {
    await fs.writeFile(path.join(dir, DATA_FILE), '')
    const store = await open()
    store.append(body('x'), [lane(store, 'a')])
    await store.commit()
  })

  it('refuses a file that is something else', async () => {
    await fs.writeFile(path.join(dir, DATA_FILE), Buffer.alloc(100_000, 'no database'))
    await expect(open()).rejects.toMatchObject({ code: 'store_corrupt' })
    await expect(open()).rejects.toThrow('restore a backup')
  })

  it('refuses a truncated file, or says which part of it is missing, and does not crash', async () => {
    await someGroup()
    const file = path.join(dir, DATA_FILE)
    const whole = await fs.readFile(file)
    let refused = 0
    for (let pages = 1; pages * 4096 < whole.length; pages++) {
      await fs.writeFile(file, whole.subarray(0, pages * 4096))
      const child = start(`
        try { for (let from = 1; ; ) { const chunk = await store.read(lane('q/a'), from); if (!chunk) break; from = chunk.firstSeq + chunk.count } say('read ' + lane('q/a').waiting) }
        catch (error) { say('refused ' + error.code) }`)
      const line = await child.line('')
      expect(['refused store_corrupt', 'read 200', 'read 0']).toContain(line)
      if (line === 'refused store_corrupt') refused++
      await child.kill()
      if (pages > 4) pages += 9
    }
    expect(refused).toBeGreaterThan(0)
  }, 60_000)

  it.skipIf(process.platform === 'win32')(
    'refuses what does not fit, keeps the rest, and goes on when there is room',
    async () => {
      const child = start(
        `
      const to = targets('q/a')
      let kept = 0
      const codes = new Set()
      for (let i = 0; i < 60; i++) {
        store.append(Buffer.alloc(200_000, 'x'), to)
        try { await store.commit(); kept++ } catch (error) { codes.add(error.kind) }
      }
      say([...codes].join())
      say(kept < 60 && lane('q/a').waiting === kept ? 'kept' : 'lost ' + kept + ' ' + lane('q/a').waiting)
      await new Promise((resolve) => setTimeout(resolve, 20))
      for (let seq = 1; seq <= 30; seq++) store.settle(lane('q/a'), seq)
      for (let i = 0; i < 3; i++) { store.putMeta('tick', i); await store.commit() }
      for (let i = 0; i < 10; i++) { store.append(Buffer.alloc(200_000, 'y'), to); await store.commit() }
      say('room ' + (lane('q/a').waiting === kept - 20))
      say('nextSeq ' + lane('q/a').nextSeq)
      say('waiting ' + lane('q/a').waiting)
      await store.close()
      say('closed')
      `,
        ['bash', '-c', 'ulimit -f 8000; exec "$@"', 'bash'],
      )
      await child.line('closed')
      expect(child.lines.slice(0, 3)).toEqual(['dependency', 'kept', 'room true'])
      const store = await open()
      const found = store.lane('q/a')
      expect([`nextSeq ${found.nextSeq}`, `waiting ${found.waiting}`]).toEqual(child.lines.slice(3, 5))
      for (const [, text] of await waitingTexts(store, found)) expect(text.length).toBe(200_000)
    },
    60_000,
  )
})
