/** Messages for clients without stored sessions on another node: how they are handed on, and who takes them over from a node that died. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { Mailbox, mailboxOf } from '../../src/nodes/mailbox.ts'
import { Commits } from '../../src/router/commits.ts'
import { Group } from '../../src/router/destinations.ts'
import { decodeMessage, encodeMessage, NO_EXPIRY } from '../../src/router/message.ts'
import { Publication } from '../../src/router/publication.ts'
import type { Lane, Shared, Store } from '../../src/store.ts'
import { StoreFaults } from '../support/faulty-store.ts'
import { SeededRandom } from '../support/seeded-random.ts'

interface Got {
  readonly payload: string
  readonly group: string | null
  done(): void
}

const GROUP = '$share/g/t'

let faults: StoreFaults
let store: Store
let commits: Commits
let groups: Set<string>
let errors: unknown[]

/** An embedded store that says it is shared: this process keeps every lane. */
function shared(inner: Store): Store {
  const keeps = { keep: async () => {} } as unknown as Shared
  return new Proxy(inner, {
    get(target, name) {
      if (name === 'shared') return keeps
      const value = Reflect.get(target, name, target) as unknown
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

beforeEach(async () => {
  faults = new StoreFaults()
  store = shared(faults.store('memory', ''))
  await store.open()
  commits = new Commits(store, { succeeded() {}, failed() {} }, () => {}, systemClock)
  groups = new Set()
  errors = []
})
afterEach(async () => {
  faults.heal()
  await store.close()
})

/** A node with its mailbox, and what its clients were handed. */
function node(nodeId: string): { mailbox: Mailbox; lane: Lane; got: Got[] } {
  const got: Got[] = []
  const mailbox = new Mailbox(
    {
      store,
      commits,
      groupOf: (key) => {
        if (!key.startsWith('$share/')) return null
        groups.add(key)
        return new Group(key, 'g', 't', null as never)
      },
      groupLeft: ({ key }) => void groups.delete(key),
      receive: (message, group, done) => {
        const publication = new Publication()
        publication.load(message, systemClock.now())
        const payload = decodeMessage(message).payload.toString()
        got.push({ payload, group: group?.key ?? null, done })
      },
      failed: (error) => errors.push(error),
    },
    nodeId,
  )
  return { mailbox, lane: store.lane(mailboxOf(nodeId)), got }
}

function message(payload: string): Buffer {
  return encodeMessage({
    topic: 't',
    clientId: 'device',
    qos: 1,
    retain: false,
    time: systemClock.now(),
    properties: Buffer.alloc(0),
    payload: Buffer.from(payload),
    expirySeconds: NO_EXPIRY,
  })
}

/** @param key of a shared subscription; null: for everybody */
function put(lane: Lane, payload: string, key: string | null = GROUP): void {
  store.append(message(payload), [{ lane, tag: 0, extra: key === null ? null : Buffer.from(key) }])
}

const payloads = (got: readonly Got[]): string[] => got.map(({ payload }) => payload)

/** As the node that leads does it: again until it works. */
async function inheritInTime(mailbox: Mailbox, nodeId: string): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    try {
      return await mailbox.inherit(nodeId)
    } catch {
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
  throw new Error('no try of two hundred was successful')
}

test('a message stays until it is done with, and each is handed on once', async () => {
  const { mailbox, lane, got } = node('one')
  await mailbox.open()
  put(lane, 'a')
  put(lane, 'b', null)
  await commits.done()
  put(lane, 'c')
  await commits.done()
  expect(got.map(({ payload, group }) => [payload, group])).toEqual([
    ['a', GROUP],
    ['b', null],
    ['c', GROUP],
  ])
  expect(lane.waiting).toBe(3)
  for (const { done } of got) done()
  expect(lane.waiting).toBe(0)
  expect([...groups]).toEqual([])
})

test('of a node that is gone, messages of shared subscriptions are taken over, each once, and its mailbox goes', async () => {
  const dead = store.lane(mailboxOf('dead'))
  put(dead, 'a')
  put(dead, 'for everybody there', null)
  put(dead, 'settled')
  put(dead, 'b')
  await commits.done()
  store.settle(dead, 3)
  const { mailbox, lane, got } = node('one')
  await mailbox.open()
  await mailbox.inherit('dead')
  await commits.done()
  expect(payloads(got)).toEqual(['a', 'b'])
  expect(lane.waiting).toBe(2)
  expect(store.laneNames('n/')).toEqual([mailboxOf('one')])
  // Whoever looks once more finds nothing.
  await mailbox.inherit('dead')
  await commits.done()
  expect(payloads(got)).toEqual(['a', 'b'])
})

test('nobody is sent anything before it is durable where it went', async () => {
  const dead = store.lane(mailboxOf('dead'))
  put(dead, 'a')
  await commits.done()
  const { mailbox, got } = node('one')
  await mailbox.open()
  faults.hold()
  const inherited = mailbox.inherit('dead')
  for (let turns = 0; turns < 5; turns++) await new Promise((resolve) => setImmediate(resolve))
  expect(got).toEqual([])
  faults.failing = true
  faults.release()
  await expect(inherited).rejects.toMatchObject({ code: 'store_unavailable' })
  expect(got).toEqual([])
  faults.heal()
  await inheritInTime(mailbox, 'dead')
  expect(payloads(got)).toEqual(['a'])
})

test('every commit of a take-over may fail: nothing is lost and nothing comes twice', async () => {
  const seed = Number(process.env['SEED'] ?? Date.now() % 1_000_000_000)
  const random = new SeededRandom(seed)
  const dead = store.lane(mailboxOf('dead'))
  const all: string[] = []
  for (let chunk = 0; chunk < 20; chunk++) {
    for (let i = random.int(1, 5); i > 0; i--) {
      all.push(`${all.length}`)
      put(dead, all.at(-1)!)
    }
    await commits.done()
  }
  const { mailbox, lane, got } = node('one')
  await mailbox.open()
  let over = false
  const weather = (async () => {
    while (!over) {
      faults.failing = random.next() < 0.5
      for (let turns = random.int(1, 4); turns > 0; turns--) await new Promise((resolve) => setImmediate(resolve))
    }
    faults.heal()
  })()
  await inheritInTime(mailbox, 'dead').finally(() => {
    over = true
  })
  await weather
  await expect.poll(() => commits.done().then(...ok)).toBe(true)
  expect(payloads(got), `SEED=${seed}`).toEqual(all)
  expect(lane.waiting, `SEED=${seed}`).toBe(all.length)
  expect(errors).toEqual([])
})

test('who takes over may die between the steps: the next one has each message once', async () => {
  const dead = store.lane(mailboxOf('dead'))
  for (const payload of ['a', 'b']) put(dead, payload)
  await commits.done()
  for (const payload of ['c', 'd']) put(dead, payload)
  await commits.done()
  // It died when the first chunk was in its mailbox: `a` was acknowledged by then, `b` was not.
  const second = node('second')
  put(second.lane, 'a')
  put(second.lane, 'b')
  store.mark(dead, 1, Buffer.from([0]))
  store.mark(dead, 2, Buffer.from([0]))
  await commits.done()
  store.settle(second.lane, 1)
  const third = node('third')
  await third.mailbox.open()
  await third.mailbox.inherit('dead')
  await third.mailbox.inherit('second')
  await commits.done()
  expect(payloads(third.got).sort()).toEqual(['b', 'c', 'd'])
  expect(store.laneNames('n/')).toEqual([mailboxOf('third')])
})

test('what is no message is told and does not stop those behind it, in a node’s own mailbox and in one it takes over', async () => {
  const dead = store.lane(mailboxOf('dead'))
  const rubbish = (lane: Lane): void => {
    store.append(Buffer.from('rubbish'), [{ lane, tag: 0, extra: Buffer.from(GROUP) }])
    store.append(Buffer.from('rubbish'), [{ lane, tag: 0, extra: null }])
    put(lane, 'for a group that cannot be', 'g/t')
  }
  rubbish(dead)
  put(dead, 'a')
  await commits.done()
  const { mailbox, lane, got } = node('one')
  await mailbox.open()
  await mailbox.inherit('dead')
  rubbish(lane)
  put(lane, 'b')
  await commits.done()
  expect(payloads(got)).toEqual(['a', 'b'])
  // Of the dead node's, what is for everybody goes unseen.
  expect(errors).toHaveLength(5)
  expect(errors.map(String).join()).toMatch(/not a stored message.*"g\/t" is no shared subscription/)
  // Only those that can be read wait still.
  expect(lane.waiting).toBe(2)
  expect([...groups]).toEqual([])
})

const ok = [() => true, () => false] as const
