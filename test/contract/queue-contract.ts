import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { seededRandom } from '../../src/base/random.ts'
import type { Delivery } from '../../src/queue/delivery.ts'
import type { WorkQueue } from '../../src/queue/queue.ts'
import { Queues, type QueuesOptions } from '../../src/queue/queues.ts'
import { defaultQueueSettings, type QueueSettings } from '../../src/queue/settings.ts'
import { TurnCommit } from '../../src/queue/turn-commit.ts'
import { decodeMessage, encodeMessage, NO_EXPIRY } from '../../src/router/message.ts'
import type { Store } from '../../src/store.ts'
import { ManualClock } from './queue-clock.ts'

export interface StoreHarness {
  /** Opens the store; what was committed through the one before is there. */
  open(clock: ManualClock): Promise<Store>
  dispose(): Promise<void>
}

/** No jitter, so that delays are known: 500, 1000, 2000 … ms. */
export const plain: QueueSettings = {
  ...defaultQueueSettings,
  maxAttempts: 3,
  backoff: { minMs: 500, maxMs: 300_000, factor: 2, jitter: 'none' },
}

const random = seededRandom(1)

/** A store with queues on it that can be closed and opened again. */
export class Bench {
  readonly clock = new ManualClock()
  readonly #harness: StoreHarness
  readonly #options: Partial<QueuesOptions>
  readonly events: string[] = []
  store!: Store
  queues!: Queues
  /** The one that commits for everybody, as in the broker: a group that failed fails for all that wrote into it. */
  #turn!: TurnCommit

  constructor(harness: StoreHarness, options: Partial<QueuesOptions> = {}) {
    this.#harness = harness
    this.#options = options
  }

  async open(): Promise<this> {
    this.store = await this.#harness.open(this.clock)
    this.#turn = new TurnCommit(this.store)
    this.queues = new Queues({
      commit: () => this.#turn.committed(),
      store: this.store,
      clock: this.clock,
      random,
      settings: { work: plain },
      events: {
        leaseExpired: ({ queue, count }) => this.events.push(`leaseExpired ${queue} ${count}`),
        deadLettered: ({ queue, deadLetterQueue, reason }) =>
          this.events.push(`deadLettered ${queue} ${deadLetterQueue} ${reason}`),
        internalError: ({ error }) => this.events.push(`internalError ${String(error)}`),
      },
      ...this.#options,
    })
    await this.queues.open()
    return this
  }

  /** As a crash does, with nothing said to anybody; what is committed stays. */
  async reopen(): Promise<void> {
    await this.store.commit()
    await this.queues.close()
    await this.store.close()
    await this.open()
  }

  /** Until every group is closed and has come to its end, and what follows from that too. */
  async settled(): Promise<void> {
    for (let i = 0; i < 4; i++) await this.#turn.committed().catch(() => {})
  }

  async close(): Promise<void> {
    await this.queues.close()
    await this.store.close()
  }

  get work(): WorkQueue {
    return this.queues.get('work')
  }

  append(payload: string, queue = 'work', expirySeconds = NO_EXPIRY): void {
    const message = encodeMessage({
      topic: `devices/${payload.slice(0, 9)}/telemetry`,
      clientId: 'device',
      qos: 1,
      retain: false,
      time: this.clock.now(),
      properties: Buffer.alloc(0),
      payload: Buffer.from(payload),
      expirySeconds,
    })
    this.store.append(message, [{ lane: this.queues.get(queue).lane, tag: 0, extra: null }])
  }

  async publish(...payloads: string[]): Promise<void> {
    for (const payload of payloads) this.append(payload)
    await this.store.commit()
  }
}

export const payloads = (deliveries: readonly Delivery[]): string[] =>
  deliveries.map(({ message }) => decodeMessage(message).payload.toString())

const receipts = (deliveries: readonly Delivery[]): string[] => deliveries.map(({ receipt }) => receipt)
const numbered = (count: number): string[] => Array.from({ length: count }, (_, i) => String(i))

export function queueContract(name: string, makeHarness: () => StoreHarness): void {
  describe(`a work queue on ${name}`, () => {
    let harness: StoreHarness
    let bench: Bench

    beforeEach(async () => {
      harness = makeHarness()
      bench = await new Bench(harness).open()
    })
    afterEach(async () => {
      await bench.close()
      await harness.dispose()
    })

    const make = async (options: Partial<QueuesOptions>): Promise<void> => {
      await bench.close()
      bench = await new Bench(harness, options).open()
    }

    describe('pull and ack', () => {
      test('messages come in the order in which they were committed, each to one worker', async () => {
        await bench.publish(...numbered(10))
        const first = await bench.work.pull(4, 30_000)
        const second = await bench.work.pull(100, 30_000)
        expect(payloads(first)).toEqual(['0', '1', '2', '3'])
        expect(payloads(second)).toEqual(['4', '5', '6', '7', '8', '9'])
        expect(first.every(({ attempt, failures }) => attempt === 1 && failures.length === 0)).toBe(true)
        expect(await bench.work.pull(1, 30_000)).toEqual([])
      })

      test('an acknowledged message is gone, also after a restart', async () => {
        await bench.publish('a', 'b', 'c')
        const [a, b] = await bench.work.pull(2, 30_000)
        expect(await bench.work.ack([a!.receipt, b!.receipt])).toEqual([
          { receipt: a!.receipt, ok: true },
          { receipt: b!.receipt, ok: true },
        ])
        expect(bench.work.lane.waiting).toBe(1)
        await bench.reopen()
        bench.clock.advance(3_600_000)
        expect(payloads(await bench.work.pull(10, 30_000))).toEqual(['c'])
      })

      test('a receipt counts once, and only in its queue', async () => {
        await make({ settings: { work: plain, other: plain } })
        await bench.publish('a')
        bench.append('b', 'other')
        await bench.store.commit()
        const [a] = await bench.work.pull(1, 30_000)
        const [b] = await bench.queues.get('other').pull(1, 30_000)
        const lost = (receipt: string) => ({ receipt, ok: false, error: 'receipt_lost' })
        expect(a!.seq).toBe(b!.seq)
        expect(await bench.work.ack([b!.receipt, 'nonsense', ''])).toEqual([
          lost(b!.receipt),
          lost('nonsense'),
          lost(''),
        ])
        expect(await bench.work.ack([a!.receipt, a!.receipt])).toEqual([
          { receipt: a!.receipt, ok: true },
          lost(a!.receipt),
        ])
        expect(await bench.work.ack([a!.receipt])).toEqual([lost(a!.receipt)])
      })

      test('a message is handed out only after its group is committed', async () => {
        bench.append('a')
        expect(await bench.work.pull(1, 30_000)).toEqual([])
        await bench.publish('b')
        expect(payloads(await bench.work.pull(2, 30_000))).toEqual(['a', 'b'])
      })

      test('a backlog in many small groups is handed out in full batches', async () => {
        for (const payload of numbered(300)) await bench.publish(payload)
        await bench.reopen()
        expect(payloads(await bench.work.pull(200, 30_000))).toEqual(numbered(300).slice(0, 200))
        expect(payloads(await bench.work.pull(200, 30_000))).toEqual(numbered(300).slice(200))
      })

      test('a backlog larger than the read-ahead is handed out in order, while more comes in', async () => {
        const body = 'x'.repeat(2000)
        const all = Array.from({ length: 3000 }, (_, i) => `${i}-${body}`)
        await bench.publish(...all.slice(0, 2000))
        const got: string[] = []
        for (let next = 2000; got.length < all.length; ) {
          const batch = await bench.work.pull(250, 30_000)
          got.push(...payloads(batch))
          await bench.work.ack(receipts(batch))
          if (next < all.length) await bench.publish(...all.slice(next, next + 100))
          next += 100
        }
        expect(got).toEqual(all)
        expect(bench.work.lane.waiting).toBe(0)
      })
    })

    describe('long polls', () => {
      test('are answered in the order in which they came, as messages are committed', async () => {
        const order: string[] = []
        const polls = ['first', 'second', 'third'].map((who, i) =>
          bench.work.pull(i + 1, 30_000, 60_000).then((got) => {
            order.push(`${who}: ${payloads(got).join(' ')}`)
          }),
        )
        await bench.publish('a', 'b')
        await polls[0]
        await polls[1]
        expect(bench.work.pullsWaiting).toBe(1)
        await bench.publish('c', 'd', 'e', 'f')
        await polls[2]
        expect(order).toEqual(['first: a', 'second: b', 'third: c d e'])
        expect(payloads(await bench.work.pull(9, 30_000))).toEqual(['f'])
      })

      test('are answered with nothing when their time is over', async () => {
        const poll = bench.work.pull(1, 30_000, 5000)
        bench.clock.advance(4999)
        expect(bench.work.pullsWaiting).toBe(1)
        bench.clock.advance(1)
        expect(await poll).toEqual([])
        await bench.publish('a')
        expect(bench.work.ready).toBe(1)
      })

      test('whose caller went away lease nothing', async () => {
        const gone = new AbortController()
        const poll = bench.work.pull(1, 30_000, 60_000, gone.signal)
        gone.abort()
        expect(await poll).toEqual([])
        await bench.publish('a')
        expect(bench.work.leased).toBe(0)
        expect(await bench.work.pull(1, 30_000, 0, gone.signal)).toEqual([])
        expect(payloads(await bench.work.pull(1, 30_000))).toEqual(['a'])
      })

      test('whose caller went away during the commit give their messages back uncounted', async () => {
        const gone = new AbortController()
        await make({
          commit: () => {
            gone.abort()
            return bench.store.commit()
          },
        })
        await bench.publish('a', 'b')
        const poll = bench.work.pull(2, 30_000, 1000, gone.signal)
        expect(await poll).toEqual([])
        const again = await bench.work.pull(2, 30_000)
        expect(payloads(again)).toEqual(['a', 'b'])
        expect(again.map(({ attempt }) => attempt)).toEqual([1, 1])
      })

      test('beyond pullsWaitingMax are refused', async () => {
        await make({ limits: { pullsWaitingMax: 2 } })
        const polls = [bench.work.pull(1, 30_000, 1000), bench.work.pull(1, 30_000, 1000)]
        await expect(bench.work.pull(1, 30_000, 1000)).rejects.toMatchObject({ code: 'quota_exceeded' })
        bench.clock.advance(1000)
        expect(await Promise.all(polls)).toEqual([[], []])
      })

      test('are answered with nothing when the queue closes, and then refused', async () => {
        const poll = bench.work.pull(1, 30_000, 60_000)
        await bench.work.close()
        expect(await poll).toEqual([])
        await expect(bench.work.pull(1, 30_000)).rejects.toMatchObject({ code: 'server_shutting_down' })
        expect(bench.clock.timers).toBe(0)
      })

      test('take a message whose delay ends', async () => {
        await bench.publish('a')
        const [a] = await bench.work.pull(1, 30_000)
        await bench.work.nack([{ receipt: a!.receipt, delayMs: 700 }])
        const poll = bench.work.pull(1, 30_000, 60_000)
        bench.clock.advance(699)
        expect(bench.work.pullsWaiting).toBe(1)
        bench.clock.advance(1)
        expect(payloads(await poll)).toEqual(['a'])
      })
    })

    describe('leases', () => {
      test('one that runs out is a failure: the message comes back after the backoff with the reason', async () => {
        await bench.publish('a')
        const [first] = await bench.work.pull(1, 1000)
        bench.clock.advance(999)
        expect(bench.work.leased).toBe(1)
        bench.clock.advance(1)
        expect([bench.work.leased, bench.work.delayed]).toEqual([0, 1])
        expect(bench.events).toEqual(['leaseExpired work 1'])
        expect(await bench.work.ack([first!.receipt])).toMatchObject([{ ok: false, error: 'receipt_lost' }])
        bench.clock.advance(500)
        const [second] = await bench.work.pull(1, 1000)
        expect(second!.attempt).toBe(2)
        expect(second!.failures).toMatchObject([{ attempt: 1, reason: 'lease expired' }])
        expect(await bench.work.ack([first!.receipt, second!.receipt])).toMatchObject([{ ok: false }, { ok: true }])
      })

      test('survive a restart: nobody else gets the message, and the receipt counts while the lease runs', async () => {
        await bench.publish(...numbered(5))
        const held = await bench.work.pull(3, 10_000)
        bench.clock.advance(4000)
        await bench.reopen()
        expect(bench.work.leased).toBe(3)
        expect(payloads(await bench.work.pull(10, 60_000))).toEqual(['3', '4'])
        expect(await bench.work.ack([held[1]!.receipt])).toEqual([{ receipt: held[1]!.receipt, ok: true }])
        bench.clock.advance(5999)
        expect(bench.work.leased).toBe(4)
        bench.clock.advance(1)
        expect([bench.work.leased, bench.work.delayed]).toEqual([2, 2])
        bench.clock.advance(500)
        const again = await bench.work.pull(10, 60_000)
        expect(payloads(again)).toEqual(['0', '2'])
        expect(again.map(({ attempt }) => attempt)).toEqual([2, 2])
      })

      test('of all that is in memory after a restart do not hide what lies behind it in the store', async () => {
        await bench.publish('a')
        await bench.work.pull(1, 10_000)
        await bench.reopen()
        await bench.publish('b')
        expect(payloads(await bench.work.pull(1, 10_000))).toEqual(['b'])
      })

      test('that ran out while the broker was down count as failures', async () => {
        await bench.publish('a')
        await bench.work.pull(1, 1000)
        await bench.store.commit()
        bench.clock.stepWall(60_000)
        await bench.reopen()
        bench.clock.advance(501)
        const [again] = await bench.work.pull(1, 1000)
        expect(again).toMatchObject({ attempt: 2, failures: [{ attempt: 1, reason: 'lease expired' }] })
      })

      test.each([
        ['the first', [0]],
        ['the last', [9]],
        ['all but one', [0, 1, 2, 3, 4, 5, 6, 7, 9]],
        ['every second', [1, 3, 5, 7, 9]],
      ])('stay exact across a restart when %s of a batch was acknowledged', async (_, acked) => {
        await bench.publish(...numbered(12))
        const held = await bench.work.pull(10, 10_000)
        for (const i of acked.toReversed()) await bench.work.ack([held[i]!.receipt])
        await bench.reopen()
        expect(bench.work.leased).toBe(10 - acked.length)
        expect(payloads(await bench.work.pull(20, 60_000))).toEqual(['10', '11'])
        const left = held.filter((_delivery, i) => !acked.includes(i))
        expect(await bench.work.ack(receipts(left))).toEqual(left.map(({ receipt }) => ({ receipt, ok: true })))
      })

      test('extended ones end later, the others when they did, also after a restart', async () => {
        await bench.publish(...numbered(6))
        const held = await bench.work.pull(6, 1000)
        const results = await bench.work.extend([
          { receipt: held[5]!.receipt, leaseMs: 5000 },
          { receipt: held[1]!.receipt, leaseMs: 5000 },
          { receipt: held[2]!.receipt, leaseMs: 9000 },
          { receipt: 'nonsense', leaseMs: 9000 },
        ])
        const now = bench.clock.now()
        expect(results).toMatchObject([
          { ok: true, leasedUntil: now + 5000 },
          { ok: true, leasedUntil: now + 5000 },
          { ok: true, leasedUntil: now + 9000 },
          { ok: false, error: 'receipt_lost' },
        ])
        bench.clock.advance(999)
        await bench.reopen()
        expect(bench.work.leased).toBe(6)
        bench.clock.advance(1)
        expect(bench.work.leased).toBe(3)
        bench.clock.advance(4000)
        expect(bench.work.leased).toBe(1)
        expect(await bench.work.ack([held[2]!.receipt])).toMatchObject([{ ok: true }])
      })

      test('one can be shortened, and a receipt named twice in one request counts once', async () => {
        await bench.publish('a')
        const [a] = await bench.work.pull(1, 60_000)
        await bench.work.extend([
          { receipt: a!.receipt, leaseMs: 100 },
          { receipt: a!.receipt, leaseMs: 90_000 },
        ])
        await bench.reopen()
        bench.clock.advance(100)
        expect([bench.work.leased, bench.work.delayed]).toEqual([0, 1])
      })

      test('a wall clock that is set neither ends nor prolongs a lease; over a restart it cannot prolong one', async () => {
        await bench.publish('a', 'b')
        await bench.work.pull(1, 10_000)
        bench.clock.stepWall(86_400_000)
        bench.clock.advance(5000)
        expect(bench.work.leased).toBe(1)
        bench.clock.stepWall(-10 * 86_400_000)
        await bench.reopen()
        bench.clock.advance(9999)
        expect(bench.work.leased).toBe(1)
        bench.clock.advance(1)
        expect(bench.work.leased).toBe(0)
      })
    })

    describe('nack', () => {
      test('brings the message back after the given delay, or the backoff of the queue', async () => {
        await bench.publish('a', 'b')
        const [a, b] = await bench.work.pull(2, 30_000)
        await bench.work.nack([{ receipt: a!.receipt, delayMs: 2000, reason: 'busy' }, { receipt: b!.receipt }])
        bench.clock.advance(500)
        expect(payloads(await bench.work.pull(9, 60_000))).toEqual(['b'])
        bench.clock.advance(1500)
        const [again] = await bench.work.pull(9, 60_000)
        expect(again).toMatchObject({ attempt: 2, failures: [{ attempt: 1, reason: 'busy' }] })
      })

      test('without delay makes it ready at once, before those that were never handed out', async () => {
        await bench.publish('a', 'b', 'c')
        const [a] = await bench.work.pull(1, 30_000)
        await bench.work.nack([{ receipt: a!.receipt, delayMs: 0 }])
        expect(payloads(await bench.work.pull(9, 30_000))).toEqual(['a', 'b', 'c'])
      })

      test('delays and failures survive a restart', async () => {
        await bench.publish(...numbered(4))
        const held = await bench.work.pull(3, 30_000)
        await bench.work.nack([
          { receipt: held[2]!.receipt, delayMs: 4000, reason: 'later' },
          { receipt: held[0]!.receipt, delayMs: 0, reason: 'now' },
        ])
        await bench.reopen()
        expect([bench.work.leased, bench.work.delayed, bench.work.ready]).toEqual([1, 1, 2])
        const now = await bench.work.pull(9, 60_000)
        expect(payloads(now)).toEqual(['0', '3'])
        expect(now[0]).toMatchObject({ attempt: 2, failures: [{ reason: 'now' }] })
        bench.clock.advance(4000)
        expect((await bench.work.pull(9, 60_000))[0]).toMatchObject({ attempt: 2, failures: [{ reason: 'later' }] })
        expect(await bench.work.ack([held[1]!.receipt])).toMatchObject([{ ok: true }])
      })

      test('a released message was never worked: ready at once, its attempt uncounted, the receipt void', async () => {
        await bench.publish(...numbered(4))
        const held = await bench.work.pull(4, 30_000)
        await bench.work.nack([
          { receipt: held[1]!.receipt, release: true },
          { receipt: held[3]!.receipt, release: true },
        ])
        expect(await bench.work.ack([held[3]!.receipt])).toMatchObject([{ ok: false }])
        await bench.reopen()
        expect([bench.work.leased, bench.work.ready]).toEqual([2, 2])
        const again = await bench.work.pull(9, 30_000)
        expect(payloads(again)).toEqual(['1', '3'])
        expect(again.map(({ attempt, failures }) => [attempt, failures.length])).toEqual([
          [1, 0],
          [1, 0],
        ])
        expect(await bench.work.ack([...receipts(again), held[0]!.receipt])).toMatchObject([
          { ok: true },
          { ok: true },
          { ok: true },
        ])
      })
    })

    describe('dead letters', () => {
      const failOnce = async (reason: string): Promise<void> => {
        const [delivery] = await bench.work.pull(1, 1000)
        await bench.work.nack([{ receipt: delivery!.receipt, delayMs: 0, reason }])
      }

      test('a message moves there with every reason after its last attempt', async () => {
        await bench.publish('a')
        const [first] = await bench.work.pull(1, 1000)
        const id = bench.work.idOf(first!.seq)
        await bench.work.nack([{ receipt: first!.receipt, delayMs: 0, reason: 'one' }])
        await failOnce('two')
        await bench.reopen()
        await failOnce('three')
        expect(bench.work.lane.waiting).toBe(0)
        expect(bench.events).toEqual(['deadLettered work work.dead three'])
        await bench.reopen()
        const [letter] = await bench.queues.get('work.dead').pull(1, 1000)
        expect(payloads([letter!])).toEqual(['a'])
        expect(letter).toMatchObject({ attempt: 1, failures: [] })
        expect(letter!.deadLetter).toMatchObject({
          queue: 'work',
          id,
          attempts: 3,
          failures: [
            { attempt: 1, reason: 'one' },
            { attempt: 2, reason: 'two' },
            { attempt: 3, reason: 'three' },
          ],
        })
      })

      test('a rejected message goes there at once', async () => {
        await bench.publish('a', 'b')
        const [a] = await bench.work.pull(1, 1000)
        expect(await bench.work.nack([{ receipt: a!.receipt, reject: true, reason: 'no JSON' }])).toEqual([
          { receipt: a!.receipt, ok: true },
        ])
        expect(bench.work.lane.waiting).toBe(1)
        const [letter] = await bench.queues.get('work.dead').pull(1, 1000)
        expect(letter!.deadLetter).toMatchObject({ attempts: 1, failures: [{ reason: 'no JSON' }] })
      })

      test('a batch whose leases run out for the last time moves there as a whole, in order', async () => {
        await make({ settings: { work: { ...plain, maxAttempts: 1 } } })
        await bench.publish(...numbered(500))
        await bench.work.pull(500, 1000)
        bench.clock.advance(1000)
        const poll = bench.queues.find('work.dead')?.pull(500, 1000) ?? Promise.resolve([])
        await poll
        await bench.work.close()
        await bench.store.commit()
        expect(payloads(await bench.queues.get('work.dead').pull(500, 1000))).toEqual(numbered(500))
        expect(bench.work.lane.waiting).toBe(0)
      })

      test('a message that was condemned when the broker died is moved after the restart', async () => {
        await make({ settings: { work: { ...plain, maxAttempts: 1 } } })
        await bench.publish('a')
        const [a] = await bench.work.pull(1, 1000)
        // The mark is written and committed, the move waits for the next turn.
        void bench.work.nack([{ receipt: a!.receipt, reason: 'over' }]).catch(() => {})
        const committed = bench.store.commit()
        const { store } = bench
        const append = store.append
        store.append = () => {
          throw new Error('the process dies here')
        }
        await committed
        await new Promise((resolve) => setImmediate(resolve))
        store.append = append
        await bench.reopen()
        const letters = await bench.queues.get('work.dead').pull(9, 1000, 1000)
        expect(payloads(letters)).toEqual(['a'])
        expect(letters[0]!.deadLetter).toMatchObject({ attempts: 1, failures: [{ reason: 'over' }] })
        expect(bench.work.lane.waiting).toBe(0)
      })

      test('a crash after the dead letter is durable and before the message is settled does not make two of it', async () => {
        await bench.publish('a', 'b')
        const [a] = await bench.work.pull(1, 1000)
        const { store } = bench
        const settle = store.settle
        store.settle = () => {}
        await bench.work.nack([{ receipt: a!.receipt, reject: true, reason: 'no' }])
        store.settle = settle
        expect(bench.work.lane.waiting).toBe(2)
        await bench.reopen()
        expect(payloads(await bench.work.pull(9, 1000))).toEqual(['b'])
        expect(payloads(await bench.queues.get('work.dead').pull(9, 1000))).toEqual(['a'])
        expect(bench.work.lane.waiting).toBe(1)
      })

      test('dead letters go where the settings say; those that fail there stay', async () => {
        await make({ settings: { work: { ...plain, maxAttempts: 1, deadLetterQueue: 'graveyard' } } })
        await bench.publish('a')
        await failOnce('over')
        const graveyard = bench.queues.get('graveyard')
        for (let i = 1; i <= 20; i++) {
          const [letter] = await graveyard.pull(1, 1000)
          expect(letter!.attempt).toBe(i)
          await graveyard.nack([{ receipt: letter!.receipt, delayMs: 0, reason: 'still' }])
        }
        expect(graveyard.ready).toBe(1)
      })

      test('a queue cannot be its own dead-letter queue', () => {
        const settings = { work: { ...plain, deadLetterQueue: 'work' } }
        expect(() => new Queues({ store: bench.store, clock: bench.clock, settings })).toThrow(
          expect.objectContaining({ code: 'config_invalid' }),
        )
      })
    })

    describe('message expiry', () => {
      test('a message whose Message Expiry Interval ran out is dropped and counted [v5 MQTT-3.3.2-5]', async () => {
        bench.append('short', 'work', 10)
        bench.append('long', 'work', 1000)
        bench.append('retried', 'work', 20)
        await bench.store.commit()
        bench.clock.advance(9999)
        const [, , retried] = await bench.work.pull(9, 1_000_000)
        expect(bench.work.counters.expired).toBe(0)
        await bench.reopen()
        await bench.work.nack([{ receipt: retried!.receipt, delayMs: 1000 }])
        bench.append('late', 'work', 10)
        await bench.store.commit()
        bench.clock.advance(10_002)
        expect(await bench.work.pull(9, 1000)).toEqual([])
        expect(bench.work.counters.expired).toBe(2)
        await bench.reopen()
        expect(bench.work.lane.waiting).toBe(2)
      })
    })

    describe('limits', () => {
      test('at unsettledMax only messages that come back are handed out', async () => {
        await make({ limits: { unsettledMax: 5 } })
        await bench.publish(...numbered(20))
        const held = await bench.work.pull(9, 30_000)
        expect(held.length).toBe(5)
        expect(await bench.work.pull(9, 30_000)).toEqual([])
        const poll = bench.work.pull(9, 30_000, 60_000)
        await bench.work.nack([{ receipt: held[2]!.receipt, delayMs: 0 }])
        expect(payloads(await poll)).toEqual(['2'])
        const next = bench.work.pull(9, 30_000, 60_000)
        await bench.work.ack([held[0]!.receipt, held[1]!.receipt])
        expect(payloads(await next)).toEqual(['5', '6'])
      })
    })

    describe('the size of an answer', () => {
      test('is bounded in bytes, for messages that come back too', async () => {
        const body = 'x'.repeat(1_000_000)
        await bench.publish(...Array.from({ length: 12 }, () => body))
        const held: Delivery[] = []
        for (let batch = await bench.work.pull(99, 1000); batch.length > 0; batch = await bench.work.pull(99, 1000)) {
          expect(batch.length).toBeLessThan(6)
          held.push(...batch)
        }
        expect(held.length).toBe(12)
        await bench.work.nack(held.map(({ receipt }) => ({ receipt, delayMs: 0 })))
        const again = await bench.work.pull(99, 1000)
        expect(again.length).toBe(5)
        expect([bench.work.leased, bench.work.ready]).toEqual([5, 7])
        expect((await bench.work.pull(99, 1000)).map(({ attempt }) => attempt)).toEqual([2, 2, 2, 2, 2])
      })
    })

    describe('the registry', () => {
      test('counts ready, leased, delayed, bytes and the oldest message', async () => {
        const oldestAt = bench.clock.now()
        await bench.publish('a', 'b')
        bench.clock.advance(1000)
        await bench.publish('c', 'd')
        const held = await bench.work.pull(2, 30_000)
        await bench.work.nack([{ receipt: held[1]!.receipt }])
        expect(await bench.queues.list()).toEqual([
          {
            name: 'work',
            ready: 2,
            leased: 1,
            delayed: 1,
            bytes: bench.work.lane.waitingBytes,
            deadLetterQueue: 'work.dead',
            paused: false,
            oldestAt,
          },
        ])
        await bench.work.ack([held[0]!.receipt])
        expect((await bench.work.info()).oldestAt).toBe(oldestAt)
      })

      test('knows queues that only the store remembers, and refuses unknown names', async () => {
        await make({ names: ['old'], settings: {} })
        bench.append('a', 'old')
        await bench.store.commit()
        await make({ names: ['new'], settings: {} })
        expect([...bench.queues].map((queue) => queue.name).sort()).toEqual(['new', 'old'])
        expect(payloads(await bench.queues.get('old').pull(1, 1000))).toEqual(['a'])
        expect(() => bench.queues.get('work')).toThrow(expect.objectContaining({ code: 'queue_unknown' }))
        expect(() => bench.queues.get('__proto__')).toThrow(expect.objectContaining({ code: 'queue_unknown' }))
      })

      test('message ids stay the same over restarts and differ between queues', async () => {
        await make({ settings: { work: plain, other: plain } })
        await bench.store.commit()
        const id = bench.work.idOf(7)
        expect(bench.queues.get('other').idOf(7)).not.toBe(id)
        await bench.reopen()
        expect(bench.work.idOf(7)).toBe(id)
      })
    })
  })
}
