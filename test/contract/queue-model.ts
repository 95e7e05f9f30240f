/**
 * Random work on a queue against a model that keeps every message in a map: who may get it, which receipt counts, which
 * attempt it is. The store is closed and opened again at random moments.
 */
import fc from 'fast-check'
import { afterAll, expect, test } from 'vitest'
import { Bench, payloads, plain, type StoreHarness } from './queue-contract.ts'

interface Modelled {
  payload: string
  state: 'ready' | 'leased' | 'delayed'
  attempt: number
  /** It comes back before what was never handed out. A restart forgets it of those that did not fail. */
  handedOut: boolean
  /** Monotonic ms: end of lease or delay. */
  until: number
  receipt: string
}

type Step =
  | { do: 'publish'; count: number }
  | { do: 'pull'; max: number; leaseMs: number }
  | { do: 'ack' | 'release' | 'reject'; pick: number[] }
  | { do: 'nack'; pick: number[]; delayMs: number }
  | { do: 'extend'; pick: number[]; leaseMs: number }
  | { do: 'advance'; ms: number }
  | { do: 'reopen' }

const pick = fc.array(fc.nat(1000), { minLength: 1, maxLength: 6 })
const ms = fc.constantFrom(100, 300, 1000, 5000)
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ do: fc.constant('publish' as const), count: fc.integer({ min: 1, max: 8 }) }),
  fc.record({ do: fc.constant('pull' as const), max: fc.integer({ min: 1, max: 8 }), leaseMs: ms }),
  fc.record({ do: fc.constantFrom('ack' as const, 'release' as const, 'reject' as const), pick }),
  fc.record({ do: fc.constant('nack' as const), pick, delayMs: fc.oneof(fc.constant(0), ms) }),
  fc.record({ do: fc.constant('extend' as const), pick, leaseMs: ms }),
  fc.record({ do: fc.constant('advance' as const), ms }),
  fc.record({ do: fc.constant('reopen' as const) }),
)

/** Every attempt fails with this delay in the model, too: no jitter, factor 1. */
const BACKOFF_MS = 500
const MAX_ATTEMPTS = 3

class Model {
  messages: Modelled[] = []
  dead: string[] = []
  /** Receipts that no longer count. */
  readonly old: string[] = []

  get leased(): Modelled[] {
    return this.messages.filter(({ state }) => state === 'leased')
  }

  /** In the order in which they are handed out. */
  get ready(): Modelled[] {
    const ready = this.messages.filter(({ state }) => state === 'ready')
    return [...ready.filter(({ handedOut }) => handedOut), ...ready.filter(({ handedOut }) => !handedOut)]
  }

  fail(message: Modelled, at: number, delayMs: number, reject = false): void {
    if (reject || message.attempt >= MAX_ATTEMPTS) {
      this.remove(message)
      this.dead.push(message.payload)
    } else {
      message.state = delayMs > 0 ? 'delayed' : 'ready'
      message.until = at + delayMs
    }
    this.old.push(message.receipt)
  }

  remove(message: Modelled): void {
    this.messages = this.messages.filter((other) => other !== message)
  }

  /** Time has moved to `now`. */
  passTo(now: number): void {
    for (const message of [...this.messages]) {
      if (message.state === 'leased' && message.until <= now) this.fail(message, message.until, BACKOFF_MS)
      if (message.state === 'delayed' && message.until <= now) message.state = 'ready'
    }
  }
}

async function run(bench: Bench, steps: readonly Step[]): Promise<void> {
  const { clock } = bench
  const model = new Model()
  let published = 0
  for (const action of steps) {
    const queue = bench.work
    if (action.do === 'publish') {
      for (let i = 0; i < action.count; i++) {
        const payload = String(published++)
        bench.append(payload)
        model.messages.push({ payload, state: 'ready', attempt: 0, handedOut: false, until: 0, receipt: '' })
      }
      await bench.store.commit()
    } else if (action.do === 'pull') {
      const got = await queue.pull(action.max, action.leaseMs)
      const ready = model.ready.slice(0, action.max)
      // A batch may be short where memory ends and the store goes on, but never empty.
      expect(got.length).toBeGreaterThanOrEqual(Math.min(1, ready.length))
      const expected = ready.slice(0, got.length)
      expect(payloads(got)).toEqual(expected.map(({ payload }) => payload))
      for (const [i, message] of expected.entries()) {
        message.attempt++
        message.handedOut = true
        expect(got[i]!.attempt).toBe(message.attempt)
        message.state = 'leased'
        message.until = clock.monotonic() + action.leaseMs
        message.receipt = got[i]!.receipt
      }
    } else if (action.do === 'advance') {
      clock.advance(action.ms)
      model.passTo(clock.monotonic())
      await new Promise((resolve) => setImmediate(resolve))
    } else if (action.do === 'reopen') {
      // Lease ids are made of the time: no process starts in the very millisecond of the one before.
      clock.stepWall(1)
      await bench.reopen()
      for (const message of model.ready) message.handedOut = message.attempt > 0
    } else {
      await answer(bench, model, action)
    }
    const states = (wanted: string): number => model.messages.filter(({ state }) => state === wanted).length
    expect([bench.work.ready, bench.work.leased]).toEqual([states('ready'), states('leased')])
  }
  await drain(bench, model)
}

async function answer(bench: Bench, model: Model, action: Extract<Step, { pick: number[] }>): Promise<void> {
  const { leased } = model
  const chosen = [...new Set(leased.length === 0 ? [] : action.pick.map((at) => leased[at % leased.length]!))]
  const { length } = model.old
  const stale = length === 0 ? [] : [model.old[action.pick[0]! % length]!]
  const receipts = [...chosen.map(({ receipt }) => receipt), ...stale]
  if (receipts.length === 0) return
  const now = bench.clock.monotonic()
  const queue = bench.work
  let results: { ok: boolean }[]
  if (action.do === 'ack') results = await queue.ack(receipts)
  else if (action.do === 'extend')
    results = await queue.extend(receipts.map((receipt) => ({ receipt, leaseMs: action.leaseMs })))
  else
    results = await queue.nack(
      receipts.map((receipt) => ({
        receipt,
        ...(action.do === 'nack' && { delayMs: action.delayMs }),
        reject: action.do === 'reject',
        release: action.do === 'release',
      })),
    )
  expect(results.map(({ ok }) => ok)).toEqual([...chosen.map(() => true), ...stale.map(() => false)])
  for (const message of chosen) {
    if (action.do === 'extend') {
      message.until = now + action.leaseMs
      continue
    }
    if (action.do === 'ack') {
      model.remove(message)
      model.old.push(message.receipt)
    } else if (action.do === 'release') {
      message.state = 'ready'
      message.attempt--
      model.old.push(message.receipt)
    } else {
      model.fail(message, now, action.do === 'nack' ? action.delayMs : 0, action.do === 'reject')
    }
  }
}

/** Everything that was neither acknowledged nor condemned still comes, once; everything condemned is a dead letter. */
async function drain(bench: Bench, model: Model): Promise<void> {
  const got: string[] = []
  for (let round = 0; round < 10 && bench.work.lane.waiting > 0; round++) {
    const batch = await bench.work.pull(1000, 100)
    got.push(...payloads(batch))
    await bench.work.ack(batch.map(({ receipt }) => receipt))
    bench.clock.advance(2500)
    model.passTo(bench.clock.monotonic())
    await new Promise((resolve) => setImmediate(resolve))
  }
  await bench.reopen()
  const dead = bench.queues.find('work.dead')
  const letters = dead === undefined ? [] : await dead.pull(1000, 1000)
  expect([...got, ...payloads(letters)].sort()).toEqual(
    [...model.messages.map(({ payload }) => payload), ...model.dead.filter((payload) => !got.includes(payload))].sort(),
  )
  expect(bench.work.lane.waiting).toBe(0)
}

export function queueModel(name: string, runs: number, makeHarness: () => StoreHarness): void {
  const harnesses: StoreHarness[] = []
  afterAll(async () => {
    for (const harness of harnesses) await harness.dispose()
  })

  test(`a work queue on ${name} does what the model does, over restarts`, { timeout: 60_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const harness = makeHarness()
        harnesses.push(harness)
        const backoff = { minMs: BACKOFF_MS, maxMs: BACKOFF_MS, factor: 1, jitter: 'none' as const }
        const settings = { work: { ...plain, maxAttempts: MAX_ATTEMPTS, backoff } }
        const bench = await new Bench(harness, { settings }).open()
        try {
          await run(bench, steps)
        } finally {
          await bench.close()
        }
      }),
      { numRuns: runs },
    )
  })
}
