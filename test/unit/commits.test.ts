import { expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { type AckReceiver, Commits } from '../../src/router/commits.ts'
import type { Store } from '../../src/store.ts'
import { HandClock } from '../support/hand-clock.ts'

/** A store whose commits are completed by hand. */
function manualStore(): { store: Store; commits: { resolve(): void; reject(error: Error): void }[] } {
  const commits: { resolve(): void; reject(error: Error): void }[] = []
  const commit = (): Promise<void> => new Promise((resolve, reject) => commits.push({ resolve, reject }))
  return { store: { commit, shared: null } as unknown as Store, commits }
}

function receiver(story: string[], name: string): AckReceiver {
  return {
    committed: (firstByte, packetId) => void story.push(`${name} ${firstByte.toString(16)} ${packetId}`),
    notCommitted: (firstByte, packetId) => void story.push(`${name} not ${firstByte.toString(16)} ${packetId}`),
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
const health = { succeeded: () => {}, failed: () => {} }

test('everything of one turn waits for one commit; nothing leaves before it [v5 MQTT-4.6.0-2]', async () => {
  const { store, commits: under } = manualStore()
  const story: string[] = []
  const commits = new Commits(store, health, () => story.push('after'))
  const a = receiver(story, 'a')
  const b = receiver(story, 'b')
  commits.ack(a, 0x40, 1)
  commits.ack(b, 0x50, 65_535)
  commits.ack(a, 0x40, 2)
  commits.wait({ committed: () => void story.push('waiter'), notCommitted: () => {} })
  commits.wakeLater({ wake: () => void story.push('woken') })
  await turn()
  expect(under).toHaveLength(1)
  expect(story).toEqual([])
  under[0]!.resolve()
  await turn()
  expect(story).toEqual(['a 40 1', 'b 50 65535', 'a 40 2', 'waiter', 'woken', 'after'])
})

test('a commit that fails acknowledges nothing and says so to everybody who waited', async () => {
  const { store, commits: under } = manualStore()
  const story: string[] = []
  const failures: unknown[] = []
  const commits = new Commits(store, { succeeded: () => {}, failed: (error) => void failures.push(error) }, () => {})
  commits.ack(receiver(story, 'a'), 0x40, 1)
  commits.wait({ committed: () => void story.push('no'), notCommitted: () => void story.push('waiter not') })
  await turn()
  const error = new Error('disk')
  under[0]!.reject(error)
  await turn()
  expect(story).toEqual(['a not 40 1', 'waiter not'])
  expect(failures).toEqual([error])
})

test('what nobody waits for is committed within 20 ms, or with the next commit', async () => {
  const { store, commits: under } = manualStore()
  const commits = new Commits(store, health, () => {})
  commits.scheduleLazily()
  commits.scheduleLazily()
  await turn()
  expect(under).toHaveLength(0)
  commits.schedule()
  await turn()
  expect(under).toHaveLength(1)
  commits.scheduleLazily()
  await expect.poll(() => under.length, { interval: 5 }).toBe(2)
  // What has been committed is not committed once more when the 20 ms are over.
  commits.scheduleLazily()
  commits.schedule()
  await turn()
  expect(under).toHaveLength(3)
  await new Promise((resolve) => setTimeout(resolve, 30))
  expect(under).toHaveLength(3)
})

test('what waits for one commit came at one time; the next turn asks the clock again', async () => {
  const { store, commits: under } = manualStore()
  let now = 1000
  const clock = { ...systemClock, now: () => now++ }
  const commits = new Commits(store, health, () => {}, clock)
  expect(commits.time()).toBe(1000)
  // Nothing waits: the turn may have ended meanwhile.
  expect(commits.time()).toBe(1001)
  commits.ack(receiver([], 'a'), 0x40, 1)
  const time = commits.time()
  now = 5000
  expect(commits.time()).toBe(time)
  await turn()
  under[0]!.resolve()
  commits.ack(receiver([], 'a'), 0x40, 2)
  expect(commits.time()).toBe(5000)
})

test('what is to be tried again is, but not any more once the store is about to be closed', () => {
  const clock = new HandClock()
  const commits = new Commits(manualStore().store, health, () => {}, clock)
  const story: string[] = []
  commits.later(() => void story.push('first'))
  clock.advance(1000)
  commits.later(() => void story.push('second'))
  commits.close()
  clock.advance(1000)
  expect(story).toEqual(['first'])
})
