import { expect, test } from 'vitest'
import type { Clock } from '../../src/base/clock.ts'
import { type Stalled, Watch, type Watched } from '../../src/connection/watch.ts'

/** A clock moved by hand; `after` callbacks run when their time comes. */
function handClock(): Clock & { advance(ms: number): void } {
  let now = 0
  const due: { at: number; fn: () => void }[] = []
  return {
    now: () => now,
    monotonic: () => now,
    after(ms, fn) {
      const entry = { at: now + ms, fn }
      due.push(entry)
      return () => void due.splice(due.indexOf(entry), 1)
    },
    advance(ms) {
      const end = now + ms
      for (;;) {
        due.sort((a, b) => a.at - b.at)
        const next = due[0]
        if (next === undefined || next.at > end) break
        due.shift()
        now = next.at
        next.fn()
      }
      now = end
    },
  }
}

function watched(story: string[], name: string): Watched {
  return { lastTick: 0, silenceTicks: 0, dueTick: 0, silent: () => void story.push(name) }
}

test('a silent peer is noticed once, after its time and not before [v5 MQTT-3.1.2-22]', () => {
  const clock = handClock()
  const story: string[] = []
  const watch = new Watch(clock, 60_000)
  watch.start()
  watch.add(watched(story, 'a'), 1500)
  clock.advance(1499)
  expect(story).toEqual([])
  clock.advance(1000)
  expect(story).toEqual(['a'])
  clock.advance(60_000)
  expect(story).toEqual(['a'])
})

test('a peer that is heard in between is left alone, and so is one that was removed', () => {
  const clock = handClock()
  const story: string[] = []
  const watch = new Watch(clock, 60_000)
  watch.start()
  const heard = watched(story, 'heard')
  const removed = watched(story, 'removed')
  watch.add(heard, 1500)
  watch.add(removed, 1500)
  watch.remove(removed)
  for (let i = 0; i < 10; i++) {
    clock.advance(1000)
    heard.lastTick = watch.tick
  }
  expect(story).toEqual([])
})

test('a reader that takes nothing for the drain timeout is frozen; one that took a little, or everything unannounced, is not', () => {
  const clock = handClock()
  const story: string[] = []
  const watch = new Watch(clock, 2000)
  watch.start()
  const taken = { frozen: 0, slow: 0, quiet: 0 }
  const unsent = { frozen: 100, slow: 100, quiet: 100 }
  const reader = (name: keyof typeof taken): Stalled => ({
    get takenBytes() {
      return taken[name]
    },
    unsentBytes: () => unsent[name],
    frozen: () => void story.push(name),
  })
  for (const name of ['frozen', 'slow', 'quiet'] as const) watch.stalled(reader(name))
  clock.advance(1000)
  unsent.quiet = 0
  for (let i = 0; i < 10; i++) {
    taken.slow++
    clock.advance(1000)
  }
  expect(story).toEqual(['frozen'])
})

test('a connection that is gone is forgotten at once, however long its Keep Alive', () => {
  const clock = handClock()
  const story: string[] = []
  const watch = new Watch(clock, 60_000)
  watch.start()
  const connections = Array.from({ length: 100 }, (_, i) => watched(story, String(i)))
  for (const connection of connections) watch.add(connection, 10_000)
  expect(watch.size).toBe(100)
  // CONNECT came: its Keep Alive replaces the time for CONNECT.
  for (const connection of connections) watch.add(connection, 65_535 * 1500)
  expect(watch.size).toBe(100)
  for (const connection of connections) watch.remove(connection)
  expect(watch.size).toBe(0)
  clock.advance(20_000)
  expect(story).toEqual([])
})
