/** What moves messages from the inbox of several nodes into the queues, while commits fail and keepers change. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { Inbox } from '../../src/nodes/inbox.ts'
import { InboxReader } from '../../src/nodes/inbox-reader.ts'
import { Queues } from '../../src/queue/queues.ts'
import { defaultQueueSettings } from '../../src/queue/settings.ts'
import { Commits } from '../../src/router/commits.ts'
import { BridgeTarget, type Destination } from '../../src/router/destinations.ts'
import { decodeMessage, encodeMessage, NO_EXPIRY } from '../../src/router/message.ts'
import { TopicTree } from '../../src/router/topic-tree.ts'
import type { Shared, Store } from '../../src/store.ts'
import { StoreFaults } from '../support/faulty-store.ts'

let faults: StoreFaults
let store: Store
let queues: Queues
let commits: Commits
let inbox: Inbox
let readers: InboxReader[] = []
let errors: unknown[] = []

/** An embedded store that says it is shared: this process keeps every lane. */
function shared(inner: Store): Store {
  const keeps = { keep: async () => {}, lanes: async (prefix: string) => inner.laneNames(prefix) } as unknown as Shared
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
  const settings = { work: { ...defaultQueueSettings, limits: { ...defaultQueueSettings.limits } } }
  queues = new Queues({ store, clock: systemClock, settings, commit: () => commits.done() })
  await queues.open()
  inbox = new Inbox(store, commits)
  readers = []
  errors = []
})
afterEach(async () => {
  for (const reader of readers) reader.close()
  faults.heal()
  await queues.close()
  await store.close()
})

function makeReader(): InboxReader {
  const tree = new TopicTree<Destination>()
  tree.add('t', new BridgeTarget(queues.intake('work')))
  const reader = new InboxReader({
    store,
    clock: systemClock,
    commits,
    tree,
    counters: { bridged: 0 },
    dropped: () => {},
    failed: (error) => errors.push(error),
  })
  readers.push(reader)
  return reader
}

async function put(...payloads: string[]): Promise<void> {
  for (const payload of payloads) {
    const message = encodeMessage({
      topic: 't',
      clientId: 'device',
      qos: 1,
      retain: false,
      time: systemClock.now(),
      properties: Buffer.alloc(0),
      payload: Buffer.from(payload),
      expirySeconds: NO_EXPIRY,
    })
    store.append(message, [inbox.target])
  }
  await commits.done()
}

async function inQueue(): Promise<string[]> {
  const got = await queues.get('work').pull(1000, 30_000)
  return got.map(({ message }) => decodeMessage(message).payload.toString())
}

test('messages that a refused commit should have moved are moved again, each once', async () => {
  await makeReader().open()
  await put('a')
  await expect.poll(() => inbox.mailbox.waiting).toBe(0)
  faults.hold()
  await Promise.race([put('b', 'c'), new Promise((resolve) => setTimeout(resolve, 20))])
  faults.failing = true
  faults.release()
  await new Promise((resolve) => setTimeout(resolve, 20))
  faults.heal()
  await put('d', 'e')
  // Here moving begins; the next commit after that of 'f' is refused.
  faults.hold()
  const putting = put('f')
  faults.release()
  await putting
  faults.failing = true
  await new Promise((resolve) => setTimeout(resolve, 50))
  faults.heal()
  await expect.poll(() => inbox.mailbox.waiting).toBe(0)
  const got = await inQueue()
  // What the broken store refused was refused to its publisher too.
  expect(got.filter((payload) => !'bc'.includes(payload))).toEqual(['a', 'd', 'e', 'f'])
  expect(new Set(got).size).toBe(got.length)
  expect(errors).toEqual([])
})

test('every commit of a move may fail: nothing is lost and nothing comes twice', async () => {
  const all: string[] = []
  await put('0')
  all.push('0')
  const reader = makeReader()
  for (let round = 1; round < 20; round++) {
    await put(`${round}`, `${round}+`)
    all.push(`${round}`, `${round}+`)
    faults.failing = true
    if (round === 1) void reader.open()
    await new Promise((resolve) => setTimeout(resolve, round % 3))
    faults.heal()
    await new Promise((resolve) => setImmediate(resolve))
    for (let tries = 0; tries < 100; tries++) if (await commits.done().then(...ok)) break
  }
  await expect.poll(() => inbox.mailbox.waiting).toBe(0)
  expect(await inQueue()).toEqual(all)
})

test('the next keeper settles what the one before had moved, and moves the rest', async () => {
  await put('a', 'b', 'c')
  // The one before died when its group was durable, and before anything was settled.
  for (const payload of ['a', 'b']) {
    const chunk = (await store.read(inbox.mailbox, 1))!
    const bodies = Array.from({ length: chunk.count }, (_, i) => chunk.message(i))
    const message = bodies.find((one) => decodeMessage(one).payload.toString() === payload)!
    store.append(message, [{ lane: queues.get('work').lane, tag: 0, extra: null }])
  }
  store.mark(inbox.mailbox, 2, Buffer.from([1]))
  await commits.done()
  await makeReader().open()
  await expect.poll(() => inbox.mailbox.waiting).toBe(0)
  expect(await inQueue()).toEqual(['a', 'b', 'c'])
})

test('what is no message is passed over and told, and does not stop those behind it', async () => {
  store.append(Buffer.from('rubbish'), [inbox.target])
  await put('a')
  await makeReader().open()
  await expect.poll(() => inbox.mailbox.waiting).toBe(0)
  expect(await inQueue()).toEqual(['a'])
  expect(errors.map(String)).toEqual([expect.stringContaining('not a stored message')])
})

const ok = [() => true, () => false] as const
