import { describe, expect, test } from 'vitest'
import { seededRandom } from '../../src/base/random.ts'
import { SharedGroup, type ShareStrategy, shareStrategies } from '../../src/router/shared-groups.ts'

class Member {
  online = true
  near = false
  inflight = 0
  canTake = true
  readonly key: string
  constructor(key: string) {
    this.key = key
  }
}

function groupOf(strategy: ShareStrategy, count: number): { group: SharedGroup<Member>; members: Member[] } {
  const group = new SharedGroup<Member>(strategy, seededRandom(7))
  const members = Array.from({ length: count }, (_, i) => new Member(`worker-${i}`))
  for (const member of members) group.add(member)
  return { group, members }
}

function pick(group: SharedGroup<Member>, publisher = 'p', topic = 't', exclude?: Set<Member>): string | undefined {
  return group.pick(publisher, topic, exclude)?.key
}

/** How often each member is picked for 10,000 different publishers and topics. */
function shares(group: SharedGroup<Member>): Map<string, number> {
  const counts = new Map<string, number>()
  for (let i = 0; i < 10_000; i++) {
    const key = pick(group, `device-${i}`, `devices/${i}/telemetry`)!
    counts.set(key, (counts.get(key) ?? 0) + 1)
  }
  return counts
}

describe.each(shareStrategies)('%s', (strategy) => {
  test('an empty group has nobody', () => {
    const { group, members } = groupOf(strategy, 1)
    expect(group.remove(members[0]!)).toBe(true)
    expect(group.remove(members[0]!)).toBe(false)
    expect(group.pick('p', 't')).toBeNull()
    expect(group.size).toBe(0)
  })

  test('every member gets its share', () => {
    const { group } = groupOf(strategy, 8)
    const counts = shares(group)
    expect(counts.size).toBe(8)
    for (const count of counts.values()) {
      expect(count).toBeGreaterThan(1000)
      expect(count).toBeLessThan(1500)
    }
  })

  test('only online members that can take are picked while there is one', () => {
    const { group, members } = groupOf(strategy, 9)
    for (const [i, member] of members.entries()) {
      member.online = i % 3 !== 0
      member.canTake = i % 3 !== 1
    }
    expect([...shares(group).keys()].sort()).toEqual(['worker-2', 'worker-5', 'worker-8'])
  })

  test('near members go before all others if that is asked for, as long as they can take', () => {
    const group = new SharedGroup<Member>(strategy, seededRandom(7), true)
    const members = Array.from({ length: 6 }, (_, i) => new Member(`worker-${i}`))
    for (const member of members) group.add(member)
    members[1]!.near = true
    members[4]!.near = true
    expect([...shares(group).keys()].sort()).toEqual(['worker-1', 'worker-4'])
    members[1]!.canTake = false
    expect([...shares(group).keys()]).toEqual(['worker-4'])
    members[4]!.online = false
    expect([...shares(group).keys()].sort()).toEqual(['worker-0', 'worker-2', 'worker-3', 'worker-5'])
  })

  test('full members are picked before offline ones', () => {
    const { group, members } = groupOf(strategy, 4)
    members[0]!.online = false
    members[1]!.online = false
    members[2]!.canTake = false
    members[3]!.canTake = false
    expect([...shares(group).keys()].sort()).toEqual(['worker-2', 'worker-3'])
  })

  test('with nobody online a topic of a publisher waits in one session, whoever else is offline', () => {
    const { group, members } = groupOf(strategy, 6)
    for (const member of members) member.online = false
    const chosen = pick(group)
    expect(chosen).toBeDefined()
    for (let i = 0; i < 20; i++) expect(pick(group)).toBe(chosen)
    for (const member of members) if (member.key !== chosen) group.remove(member)
    expect(pick(group)).toBe(chosen)
  })

  test('excluded members are passed over, all excluded is nobody', () => {
    const { group, members } = groupOf(strategy, 5)
    const exclude = new Set<Member>()
    const seen = new Set<string>()
    for (let i = 0; i < 5; i++) {
      const member = group.pick('p', 't', exclude)!
      seen.add(member.key)
      exclude.add(member)
    }
    expect(seen.size).toBe(5)
    expect(group.pick('p', 't', exclude)).toBeNull()
    for (const member of members) member.online = false
    expect(group.pick('p', 't', exclude)).toBeNull()
  })

  test('a member is in the group once, and gone when removed', () => {
    const { group, members } = groupOf(strategy, 5)
    expect(group.add(members[2]!)).toBe(false)
    expect(group.size).toBe(5)
    for (const leaving of [members[0]!, members[4]!, members[2]!]) {
      expect(group.has(leaving)).toBe(true)
      group.remove(leaving)
      expect(group.has(leaving)).toBe(false)
      const counts = shares(group)
      expect(counts.has(leaving.key)).toBe(false)
      expect(counts.size).toBe(group.size)
    }
    expect([...group.members()].map((member) => member.key).sort()).toEqual(['worker-1', 'worker-3'])
  })
})

test('round-robin takes each in turn', () => {
  const { group, members } = groupOf('round-robin', 3)
  const turns = Array.from({ length: 6 }, () => pick(group))
  expect(turns).toEqual(['worker-0', 'worker-1', 'worker-2', 'worker-0', 'worker-1', 'worker-2'])
  members[1]!.canTake = false
  expect([pick(group), pick(group), pick(group)]).toEqual(['worker-0', 'worker-2', 'worker-0'])
})

test('least-inflight takes the one with the fewest unacknowledged messages, in turn among equals', () => {
  const { group, members } = groupOf('least-inflight', 3)
  members[0]!.inflight = 2
  members[1]!.inflight = 1
  members[2]!.inflight = 1
  expect([pick(group), pick(group), pick(group)]).toEqual(['worker-1', 'worker-2', 'worker-1'])
  members[0]!.inflight = 0
  expect(pick(group)).toBe('worker-0')
  members[0]!.canTake = false
  expect(pick(group)).not.toBe('worker-0')
})

test('random is even among the few of many that can take', () => {
  const { group, members } = groupOf('random', 200)
  for (const [i, member] of members.entries()) member.canTake = i >= 195
  const counts = shares(group)
  expect(counts.size).toBe(5)
  for (const count of counts.values()) expect(Math.abs(count - 2000)).toBeLessThan(250)
})

let calls = 0
describe.each([
  ['sticky', (i: number) => [`device-${i}`, `any/${calls++}`]],
  ['hash', (i: number) => [`any-${calls++}`, `devices/${i}/telemetry`]],
] as const)('%s', (strategy, keyed) => {
  const assignment = (group: SharedGroup<Member>): (string | undefined)[] =>
    Array.from({ length: 2000 }, (_, i) => {
      const [publisher, topic] = keyed(i)
      return pick(group, publisher, topic)
    })

  test('a key keeps its member', () => {
    const { group } = groupOf(strategy, 8)
    expect(assignment(group)).toEqual(assignment(group))
  })

  test('the order of joining does not matter', () => {
    const { group, members } = groupOf(strategy, 8)
    const other = new SharedGroup<Member>(strategy, seededRandom(1))
    for (const member of [...members].reverse()) other.add(member)
    expect(assignment(other)).toEqual(assignment(group))
  })

  test('a leaving member moves only its own share, a joining one takes only its own', () => {
    const { group, members } = groupOf(strategy, 8)
    const before = assignment(group)
    group.remove(members[3]!)
    const without = assignment(group)
    for (const [i, key] of before.entries()) {
      if (key === 'worker-3') expect(without[i]).not.toBe('worker-3')
      else expect(without[i]).toBe(key)
    }
    expect(new Set(without.filter((_, i) => before[i] === 'worker-3')).size).toBe(7)
    group.add(members[3]!)
    expect(assignment(group)).toEqual(before)
  })
})
