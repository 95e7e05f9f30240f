/** What a member of shared subscriptions leaves behind reaches the others, whatever happens to the commits on the way. */
import { expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { SluiceError } from '../../src/errors.ts'
import { Commits } from '../../src/router/commits.ts'
import type { Group } from '../../src/router/destinations.ts'
import { Origin } from '../../src/router/message.ts'
import { Publication } from '../../src/router/publication.ts'
import { LaneDrain } from '../../src/session/lane-drain.ts'
import { type Session, TAG_SHARED } from '../../src/session/session.ts'
import type { Store } from '../../src/store.ts'
import { MemoryEngine } from '../../src/stores/embedded/memory-engine.ts'
import { EmbeddedStore } from '../../src/stores/embedded/store.ts'
import { Events } from '../../src/telemetry/events.ts'
import { ClockedBroker } from '../support/clocked-broker.ts'
import { CrashableEngine } from '../support/crashable-engine.ts'
import { StoreFaults } from '../support/faulty-store.ts'
import { encodeRawPublish } from '../support/raw-packets.ts'

const KEY = '$share/g/jobs'
const LANE = 's/gone'
const total = 3000
const group = { key: KEY, topicFilter: 'jobs' } as Group

function stored(text: string): Buffer {
  const packet = encodeRawPublish({ topic: 'jobs', qos: 1, packetId: 1, payload: text })
  const publication = new Publication()
  publication.parse(packet, 0, 2, packet.length, false)
  return publication.store(new Origin('publisher', undefined), 0)
}

function drainOver(store: Store): LaneDrain {
  const health = { succeeded: () => {}, failed: () => {} }
  const commits = new Commits(store, health, () => {})
  const other = store.lane('s/other')
  return new LaneDrain({
    store,
    nodeId: 'local',
    subscriptions: { groupOf: (key) => (key === KEY ? group : null), groupLeft: () => {} },
    redistribute(loans) {
      for (const { message } of loans) store.append(Buffer.from(message), [{ lane: other, tag: 1, extra: null }])
    },
    dropped: () => {},
    events: new Events(),
    commits,
  })
}

async function fill(store: Store): Promise<void> {
  const lane = store.lane(LANE)
  for (let i = 0; i < total; i++) {
    store.append(stored(String(i)), [{ lane, tag: 1 | TAG_SHARED, extra: null }])
    if (i % 500 === 499) await store.commit()
  }
}

/** What the other member has, in order. */
async function arrived(store: Store): Promise<number[]> {
  const texts: number[] = []
  const lane = store.lane('s/other')
  for (let next = 1; ; ) {
    const chunk = await store.read(lane, next)
    if (chunk === null) return texts
    const publication = new Publication()
    for (let i = 0; i < chunk.count; i++) {
      publication.load(chunk.message(i), 0)
      texts.push(Number(publication.buf.toString('utf8', publication.payloadStart, publication.payloadEnd)))
    }
    next = chunk.firstSeq + chunk.count
  }
}

const everything = Array.from({ length: total }, (_, i) => i)
const member = { maybeSentBefore: 0 } as Session

test('commits that are refused in the middle lose nothing and double nothing', async () => {
  const faults = new StoreFaults()
  const store = faults.store('memory', '')
  await store.open()
  await fill(store)
  const drain = drainOver(store)
  let commits = 0
  let refused = 0
  faults.passage = async () => {
    if (++commits % 3 !== 0) return
    refused++
    throw new SluiceError('store_unavailable', 'the test broke the store')
  }
  drain.start(store.lane(LANE), [group], member)
  await expect.poll(() => drain.freeName(LANE)).toBe(LANE)
  expect(refused).toBeGreaterThan(1)
  expect(await arrived(store)).toEqual(everything)
  expect(store.meta('drain/').size).toBe(0)
  expect(store.laneNames('s/')).toEqual(['s/other'])
  await store.close()
})

test('a process that dies in the middle leaves the rest to the next one', async () => {
  const image = new MemoryEngine()
  const crashable = new CrashableEngine(image)
  const first = new EmbeddedStore(crashable, { clock: systemClock })
  await first.open()
  await fill(first)
  drainOver(first).start(first.lane(LANE), [group], member)
  await expect.poll(() => first.lane('s/other').waiting, { interval: 1 }).toBeGreaterThan(0)
  await crashable.crash()

  const second = new EmbeddedStore(image, { clock: systemClock })
  await second.open()
  expect(second.lane('s/other').waiting).toBeLessThan(total)
  drainOver(second).resume(() => true)
  await expect.poll(() => second.meta('drain/').size).toBe(0)
  expect(await arrived(second)).toEqual(everything)
  await second.close()
})

test('a member whose time is over while the broker is down leaves its messages to the others', async () => {
  const broker = await ClockedBroker.start({ shared: { strategy: 'hash' } })
  try {
    const connect = (id: string, seconds: number) =>
      broker.connect(id, { properties: { sessionExpiryInterval: seconds } })
    const short = await connect('short', 100)
    await short.subscribe([KEY, 1])
    await short.disconnect()
    const publisher = await connect('publisher', 0)
    for (let i = 0; i < 5; i++) await publisher.publish({ topic: 'jobs', qos: 1, payload: String(i) })
    await publisher.disconnect()
    const long = await connect('long', 5000)
    await long.subscribe([KEY, 1])
    await long.disconnect()
    await broker.restart(() => broker.clock.advance(1000_000))
    const again = await connect('long', 5000)
    // The sweep for sessions whose time is over.
    broker.clock.advance(2000)
    const payloads: string[] = []
    for (let i = 0; i < 5; i++) payloads.push((await again.receive()).payload.toString())
    expect(payloads).toEqual(['0', '1', '2', '3', '4'])
    await again.disconnect()
  } finally {
    await broker.stop()
  }
})
