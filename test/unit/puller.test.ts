import { afterEach, expect, test } from 'vitest'
import type { Envelope } from '../../src/bridge/envelope.ts'
import { FakeQueue } from '../../src/worker/fake-queue.ts'
import { createWorker, type Worker } from '../../src/worker/index.ts'
import { Outbox } from '../../src/worker/outbox.ts'
import type { EntryResult, NackBody, WorkSource } from '../../src/worker/source.ts'

interface Asked {
  readonly max: number
  readonly waitMs: number
  /** Has the queue answer with what it has. */
  answer(): void
}

/** A queue that takes several pulls at a time and answers each when told. */
class SlowQueue extends FakeQueue {
  readonly pullsMax = 4
  readonly asked: Asked[] = []
  #open = false

  override async pull(max: number, waitMs: number, leaseMs: number, poll: string, signal: AbortSignal) {
    await new Promise<void>((resolve) => {
      this.asked.push({ max, waitMs, answer: resolve })
      if (this.#open) resolve()
    })
    return super.pull(max, 0, leaseMs, poll, signal)
  }

  override async cancel(): Promise<boolean> {
    for (const { answer } of this.asked) answer()
    return true
  }

  /** From now on everything is answered at once. */
  open(): void {
    this.#open = true
    for (const { answer } of this.asked) answer()
  }

  fill(count: number): void {
    for (let i = 0; i < count; i++) this.put({ payload: i })
  }
}

let worker: Worker | null = null
afterEach(async () => {
  await worker?.stop(1000)
  worker = null
})

const asks = (queue: SlowQueue): number[] => queue.asked.map(({ max }) => max)

test('asks for the next messages before the last ones have come while answers are full, in pieces of at least 100', async () => {
  const queue = new SlowQueue()
  queue.fill(1000)
  worker = createWorker({ source: queue, queue: 'fake', concurrency: 10, batch: 400, handler: () => {} })
  expect(asks(queue)).toEqual([100])
  queue.asked[0]!.answer()
  await expect.poll(() => asks(queue)).toEqual([100, 100, 100, 100, 100])
  // Only a pull that is alone waits for messages to come.
  expect(queue.asked.map(({ waitMs }) => waitMs)).toEqual([20_000, 20_000, 0, 0, 0])
  queue.open()
  await queue.settled()
  expect(queue.results.map(({ id }) => Number(id)).sort((a, b) => a - b)).toEqual(
    Array.from({ length: 1000 }, (_, i) => i + 1),
  )
})

test('asks for no more than it has room for', async () => {
  const queue = new SlowQueue()
  queue.fill(1000)
  const handler = (): Promise<void> => new Promise(() => {})
  worker = createWorker({ source: queue, queue: 'fake', concurrency: 10, batch: 250, handler })
  queue.asked[0]!.answer()
  await expect.poll(() => asks(queue)).toEqual([100, 100])
  queue.open()
  await expect.poll(() => worker!.stats.pulled).toBe(200)
  // 50 places are left: not worth a pull.
  await new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
  expect(asks(queue)).toEqual([100, 100])
  expect(worker.stats).toMatchObject({ pulled: 200, running: 10 })
  await worker.stop(10)
})

test('has one request waiting when the queue has no more', async () => {
  const queue = new SlowQueue()
  queue.fill(30)
  worker = createWorker({ source: queue, queue: 'fake', concurrency: 10, batch: 400, handler: () => {} })
  queue.asked[0]!.answer()
  await queue.settled()
  await expect.poll(() => asks(queue)).toEqual([100, 100])
  queue.asked[1]!.answer()
  await expect.poll(() => asks(queue)).toEqual([100, 100, 100])
  expect(queue.asked[2]!.waitMs).toBe(20_000)
})

test('with one handler at a time has one request at a time, so that order is kept', async () => {
  const queue = new SlowQueue()
  queue.fill(1000)
  const got: string[] = []
  worker = createWorker({ source: queue, queue: 'fake', batch: 400, handler: ({ id }) => void got.push(id) })
  queue.asked[0]!.answer()
  await expect.poll(() => asks(queue)).toEqual([400, 400])
  queue.open()
  await queue.settled()
  expect(got).toEqual(Array.from({ length: 1000 }, (_, i) => String(i + 1)))
})

test('a source that does not say how many pulls it takes is asked once at a time', async () => {
  const queue = new FakeQueue()
  let most = 0
  let now = 0
  const pull = queue.pull.bind(queue)
  queue.pull = async (...args): Promise<Envelope[]> => {
    most = Math.max(most, ++now)
    return pull(...args).finally(() => now--)
  }
  for (let i = 0; i < 1000; i++) queue.put({ payload: i })
  worker = createWorker({ source: queue, queue: 'fake', concurrency: 10, batch: 200, handler: () => {} })
  await queue.settled()
  expect(most).toBe(1)
})

test('the outbox tells when it is empty, so that a worker that waited for room in it goes on', async () => {
  const results = async (receipts: readonly string[]): Promise<EntryResult[]> =>
    receipts.map((receipt) => ({ receipt, ok: true }))
  const source: WorkSource = Object.assign(new FakeQueue(), {
    ack: results,
    nack: (entries: readonly NackBody[]) => results(entries.map(({ receipt }) => receipt)),
  })
  const sizes: number[] = []
  const outbox = new Outbox(
    source,
    () => {},
    () => sizes.push(outbox.size),
    new AbortController().signal,
  )
  for (let i = 0; i < 1000; i++) {
    outbox.ack(`a${i}`)
    outbox.nack({ receipt: `n${i}` })
  }
  await outbox.flushed()
  expect(sizes).toEqual([2000, 0])
})
