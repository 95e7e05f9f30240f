/**
 * A disk that refuses writes now and then, under QoS 1 and QoS 2 publishers and persistent subscribers: the promises of
 * the kill test hold without a kill, and everything flows again when the disk does.
 */
import { expect, test } from 'vitest'
import { embedBroker } from '../support/broker-inline.ts'
import { SeededRandom } from '../support/seeded-random.ts'
import { formatAccount, Ledger } from './ledger.ts'
import { FaultPublisher } from './publisher.ts'
import { FaultSubscriber } from './subscriber.ts'

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

test('a store that refuses commits now and then loses, repeats and reorders nothing, and stalls nobody for good', async () => {
  const seed = Number(process.env.FAULT_SEED ?? Date.now() % 1_000_000_000)
  const random = new SeededRandom(seed)
  const ledger = new Ledger(seed)
  const broker = await embedBroker({ store: 'lmdb' })
  const target = () => broker.mqtt
  const receivers = ['first', 'second'].map((name) =>
    ledger.addReceiver({ name, kind: 'session', wants: (topic) => topic.startsWith('flaky/') }),
  )
  const subscribers = receivers.map((receiver, i) => {
    const clientId = `subscriber-${receiver.name}`
    const filters = ['flaky/#']
    const own = random.fork(clientId)
    return new FaultSubscriber({
      clientId,
      version: i === 0 ? 4 : 5,
      filters,
      receiver,
      target,
      ledger,
      random: own,
      ackDelayMs: 5,
    })
  })
  const publishers = Array.from({ length: 4 }, (_, i) => {
    const clientId = `publisher-${i}`
    const topics = [{ topic: `flaky/${i}`, retain: i === 3 }]
    const own = random.fork(clientId)
    const qos = i % 2 === 0 ? 2 : 1
    const version = i < 2 ? 4 : 5
    return new FaultPublisher({ clientId, qos, version, topics, target, ledger, random: own, window: 20, paceMs: 4 })
  })
  try {
    for (const subscriber of subscribers) subscriber.start()
    await expect.poll(() => subscribers.every((subscriber) => subscriber.ready)).toBe(true)
    for (const publisher of publishers) publisher.start()
    await expect.poll(() => publishers.every((publisher) => publisher.acknowledgements > 0)).toBe(true)
    for (let round = 1; round <= 25; round++) {
      ledger.round = round
      broker.faults.failing = true
      await sleep(random.int(1, 40))
      broker.faults.failing = false
      if (random.chance(0.3)) broker.faults.delayMs = random.int(1, 10)
      await sleep(random.int(20, 150))
      broker.faults.delayMs = 0
      // What a restart finds on disk must agree with what clients were told.
      if (random.chance(0.15)) await broker.restart()
    }
    broker.faults.heal()
    await broker.restart()
    for (const publisher of publishers) publisher.stopProducing()
    const done = () =>
      publishers.every((publisher) => publisher.unacknowledged === 0) &&
      receivers.every((receiver) => ledger.outstanding(receiver) === 0)
    await expect
      .poll(done, { timeout: 30_000 })
      .toBe(true)
      .catch(() => {})
    // Long enough for a stray repetition to show.
    await sleep(200)
    const account = ledger.account()
    const story = `${formatAccount(account)}\nreplay with FAULT_SEED=${seed}`
    expect(account.violations, story).toEqual([])
    expect(account.acknowledged, story).toBeGreaterThan(200)
    await expect
      .poll(() => subscribers.map((subscriber) => subscriber.halfDone), { message: 'QoS 2 flows left half done' })
      .toEqual([0, 0])
  } finally {
    await Promise.all([...publishers, ...subscribers].map((client) => client.close()))
    await broker.stop()
  }
}, 90_000)
