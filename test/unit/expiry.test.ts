import { expect, test } from 'vitest'
import type { Clock } from '../../src/base/clock.ts'
import { Expiry, NEVER } from '../../src/session/expiry.ts'
import type { Session } from '../../src/session/session.ts'

/** A clock whose timers run when the test says that a second is over. */
function secondsByHand() {
  let now = 1_000_000
  let due: (() => void) | null = null
  const clock: Clock = {
    now: () => now,
    monotonic: () => now,
    after: (_ms, fn) => {
      due = fn
      return () => {
        due = null
      }
    },
  }
  const second = (): void => {
    now += 1000
    due?.()
  }
  return { clock, second }
}

function sessionsThatExpire(count: number, expirySeconds: (i: number) => number) {
  const sessions = new Map<string, Session>()
  for (let i = 0; i < count; i++) {
    const facts = { clientId: `${i}`, kept: true, owner: null, disconnectedAt: 1_000_000 }
    sessions.set(`${i}`, { ...facts, expirySeconds: expirySeconds(i) } as Session)
  }
  return sessions
}

test('few sessions end in the second in which their time is over', () => {
  const { clock, second } = secondsByHand()
  const sessions = sessionsThatExpire(10, (i) => i + 1)
  const ended: string[] = []
  const expiry = new Expiry(clock, sessions, ({ clientId }) => {
    ended.push(clientId)
    sessions.delete(clientId)
  })
  expiry.start()
  for (let i = 1; i <= 10; i++) {
    second()
    expect(ended.length).toBe(i)
  }
})

test('of many sessions each ends within about a minute, and none before its time or while it is served', () => {
  const { clock, second } = secondsByHand()
  const sessions = sessionsThatExpire(120_000, (i) => (i % 3 === 0 ? 5 : i % 3 === 1 ? 3600 : NEVER))
  Object.assign(sessions.get('3')!, { owner: {} })
  Object.assign(sessions.get('6')!, { disconnectedAt: 0 })
  const ended: string[] = []
  const expiry = new Expiry(clock, sessions, ({ clientId }) => {
    ended.push(clientId)
    sessions.delete(clientId)
  })
  expiry.start()
  for (let i = 1; i <= 4; i++) second()
  expect(ended).toEqual([])
  for (let i = 5; i <= 75; i++) second()
  expect(ended.length).toBe(40_000 - 2)
  expect(ended.every((clientId) => Number(clientId) % 3 === 0)).toBe(true)
  expiry.stop()
})

test('a session whose end is being settled is told once', () => {
  const { clock, second } = secondsByHand()
  const sessions = sessionsThatExpire(1, () => 1)
  let told = 0
  const expiry = new Expiry(clock, sessions, (session) => {
    told++
    expiry.leaveOut(session)
  })
  expiry.start()
  second()
  second()
  expect(told).toBe(1)
  expiry.takeIn(sessions.get('0')!)
  second()
  expect(told).toBe(2)
})
