import os from 'node:os'
import { beforeEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { InboxReader } from '../../src/nodes/inbox-reader.ts'
import type { Intake } from '../../src/queue/intake.ts'
import { Commits } from '../../src/router/commits.ts'
import { BridgeTarget, type Destination } from '../../src/router/destinations.ts'
import { encodeMessage, NO_EXPIRY } from '../../src/router/message.ts'
import { TopicTree } from '../../src/router/topic-tree.ts'
import type { Lane, Store } from '../../src/store.ts'
import { StoreFaults } from '../support/faulty-store.ts'

const INBOX = 'qi'

function stored(payload: string): Buffer {
  return encodeMessage({
    topic: 'jobs/a',
    clientId: 'device',
    qos: 1,
    retain: false,
    time: 0,
    properties: Buffer.alloc(0),
    payload: Buffer.from(payload),
    expirySeconds: NO_EXPIRY,
  })
}

describe('the inbox of the queues', () => {
  let faults: StoreFaults
  let store: Store
  let queue: Lane
  let commits: Commits

  beforeEach(async () => {
    faults = new StoreFaults()
    store = faults.store('memory', os.tmpdir())
    await store.open()
    queue = store.lane('q/jobs')
    commits = new Commits(store, { succeeded: () => {}, failed: () => {} }, () => {})
  })

  function reader(): InboxReader {
    const tree = new TopicTree<Destination>()
    const intake = { plain: [{ lane: queue, tag: 0, extra: null }], open: true } as unknown as Intake
    tree.add('jobs/#', new BridgeTarget(intake))
    const shared = new Proxy(store, {
      get: (of, name) => {
        const value: unknown = name === 'shared' ? { keep: async () => {} } : Reflect.get(of, name)
        return typeof value === 'function' ? value.bind(of) : value
      },
    })
    return new InboxReader({
      store: shared,
      clock: systemClock,
      commits,
      tree,
      counters: { bridged: 0 },
      dropped: () => {},
      failed: (error) => {
        throw error
      },
    })
  }

  async function put(...payloads: string[]): Promise<void> {
    for (const payload of payloads) store.append(stored(payload), [{ lane: store.lane(INBOX), tag: 0, extra: null }])
    await store.commit()
  }

  /** Payloads that wait in the lane. */
  async function waiting(lane: Lane): Promise<string[]> {
    const found: string[] = []
    for (let next = 1; ; ) {
      const chunk = await store.read(lane, next)
      if (chunk === null) return found
      for (let i = 0; i < chunk.count; i++)
        if (!chunk.isSettled(i)) found.push(/m\d+$/.exec(chunk.message(i).toString())?.[0] ?? '?')
      next = chunk.firstSeq + chunk.count
    }
  }

  test('a message whose move could not be stored is moved again, once', async () => {
    await put('m1', 'm2')
    faults.failing = true
    const inbox = reader()
    await inbox.open()
    expect(await waiting(queue)).toEqual([])
    expect(await waiting(store.lane(INBOX))).toEqual(['m1', 'm2'])
    faults.heal()
    await expect.poll(() => waiting(queue)).toEqual(['m1', 'm2'])
    await expect.poll(() => waiting(store.lane(INBOX))).toEqual([])
    await put('m3')
    await expect.poll(() => waiting(queue)).toEqual(['m1', 'm2', 'm3'])
    inbox.close()
  })

  test('what was moved and not settled before a crash is not moved again', async () => {
    await put('m1', 'm2', 'm3')
    const inbox = store.lane(INBOX)
    for (const payload of ['m1', 'm2']) store.append(stored(payload), [{ lane: queue, tag: 0, extra: null }])
    store.mark(inbox, inbox.nextSeq - 2, Buffer.from('m'))
    await store.commit()
    const next = reader()
    await next.open()
    await expect.poll(() => waiting(queue)).toEqual(['m1', 'm2', 'm3'])
    await expect.poll(() => waiting(inbox)).toEqual([])
    await expect.poll(() => store.marks(inbox)).toEqual([])
    next.close()
  })
})
