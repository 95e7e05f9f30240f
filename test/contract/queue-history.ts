/**
 * Random histories of a work queue and a consumer group of it against a reference (queue-reference.ts): publish with keys,
 * priorities, times and deduplication keys, up to a limit; lease, acknowledge, fail, give back, extend, let leases run out;
 * pause, bring back dead letters; restart, and crash with work in the open group and a redrive under way. What must hold:
 * nothing is lost, nobody holds what another one holds, messages of a key keep their order, attempts are exact, and nothing
 * comes back twice.
 */
import fc from 'fast-check'
import { afterAll, expect, test } from 'vitest'
import type { Delivery } from '../../src/queue/delivery.ts'
import type { Terms } from '../../src/queue/terms.ts'
import { Bench, payloads, plain, type StoreHarness } from './queue-contract.ts'
import { enter, pass } from './queue-order-contract.ts'
import { type Entered, type Message, Reference } from './queue-reference.ts'

export interface CrashHarness extends StoreHarness {
  /** The process dies: what is not committed is gone. */
  crash(): Promise<void>
}

type Step =
  | { do: 'publish'; what: Wish[] }
  | { do: 'pull'; group: number; max: number; leaseMs: number }
  | { do: 'ack' | 'release' | 'reject'; group: number; pick: number[] }
  | { do: 'nack'; group: number; pick: number[]; delayMs: number }
  | { do: 'extend'; group: number; pick: number[]; leaseMs: number }
  | { do: 'pass'; ms: number }
  | { do: 'pause'; group: number; paused: boolean }
  | { do: 'redrive'; group: number }
  | { do: 'restart' }
  | { do: 'crash'; what: Wish[]; pick: number[]; redrive: number }

interface Wish {
  key: string
  priority: number
  inMs: number
  ttlMs: number
  once: string
}

const ms = fc.constantFrom(100, 300, 1000, 5000)
const group = fc.nat(1)
const pick = fc.array(fc.nat(1000), { minLength: 1, maxLength: 6 })
const often = <T>(usual: T, ...other: T[]): fc.Arbitrary<T> =>
  fc.oneof({ weight: 3, arbitrary: fc.constant(usual) }, { weight: 1, arbitrary: fc.constantFrom(...other) })
const wish: fc.Arbitrary<Wish> = fc.record({
  key: fc.constantFrom('', '', 'a', 'b', 'c'),
  priority: often(4, 0, 4, 9),
  inMs: often(0, 100, 700, 3_000_000),
  ttlMs: often(0, 300, 5000),
  once: often('', 'x', 'y'),
})
const wishes = fc.array(wish, { minLength: 1, maxLength: 8 })
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ do: fc.constant('publish' as const), what: wishes }) },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant('pull' as const), group, max: fc.integer({ min: 1, max: 9 }), leaseMs: ms }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constantFrom('ack' as const, 'ack' as const, 'release' as const, 'reject' as const),
      group,
      pick,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('nack' as const), group, pick, delayMs: fc.oneof(fc.constant(0), ms) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('extend' as const), group, pick, leaseMs: ms }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('pass' as const), ms }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('pause' as const), group, paused: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('redrive' as const), group }) },
  { weight: 1, arbitrary: fc.constant({ do: 'restart' as const }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('crash' as const), what: wishes, pick, redrive: fc.constantFrom(-1, 0, 1) }),
  },
)

const BACKOFF_MS = 500
const MAX_ATTEMPTS = 3
const WINDOW_MS = 2000
/** Few, so that it is reached. */
const MESSAGES_MAX = 14
const names = ['work', 'work@g']
const settings = {
  ...plain,
  maxAttempts: MAX_ATTEMPTS,
  backoff: { minMs: BACKOFF_MS, maxMs: BACKOFF_MS, factor: 1, jitter: 'none' as const },
  groups: ['g'],
  ageingMs: 0,
  deduplication: { windowMs: WINDOW_MS, keysMax: 1000 },
  limits: { ...plain.limits, messagesMax: MESSAGES_MAX, whenFull: 'refuse' as const },
}

class History {
  readonly bench: Bench
  readonly #harness: CrashHarness
  readonly #references = names.map(() => new Reference({ maxAttempts: MAX_ATTEMPTS, backoffMs: BACKOFF_MS }))
  /** When each deduplication key came, wall clock. */
  readonly #keys = new Map<string, number>()
  readonly #paused = [false, false]
  #published = 0

  constructor(bench: Bench, harness: CrashHarness) {
    this.bench = bench
    this.#harness = harness
  }

  async run(steps: readonly Step[]): Promise<void> {
    for (const action of steps) await this.#do(action)
    await this.#drain()
  }

  async #do(action: Step): Promise<void> {
    const { clock } = this.bench
    switch (action.do) {
      case 'publish':
        for (const one of action.what) this.#publish(one, true)
        await this.bench.store.commit()
        return
      case 'pull':
        await this.#pull(action.group, action.max, action.leaseMs)
        return
      case 'pass':
        await this.#pass(action.ms)
        return
      case 'pause':
        await this.bench.queues.pause(names[action.group]!, action.paused)
        this.#paused[action.group] = action.paused
        return
      case 'redrive':
        await this.#redrive(action.group)
        return
      case 'restart':
        // Lease ids are made of the time: no process starts in the very millisecond of the one before.
        clock.stepWall(1)
        await this.bench.reopen()
        for (const reference of this.#references) reference.restarted()
        await this.#pass(0)
        return
      case 'crash':
        await this.#crash(action)
        return
      default:
        await this.#answer(action)
    }
  }

  #publish({ key, priority, inMs, ttlMs, once }: Wish, counts: boolean): void {
    const { clock } = this.bench
    const now = clock.now()
    const message: Entered = {
      payload: String(this.#published++),
      key,
      // An ordering key keeps messages in one line, and those for later come to its end.
      priority: key === '' ? priority : 4,
      deliverAt: inMs === 0 ? 0 : now + inMs,
      expiresAt: ttlMs === 0 ? Number.POSITIVE_INFINITY : now + inMs + ttlMs,
    }
    const terms: Terms = { priority }
    if (key !== '') terms.key = Buffer.from(key)
    if (inMs > 0) terms.deliverAt = message.deliverAt
    if (ttlMs > 0) terms.expiresAt = message.expiresAt
    if (once !== '') terms.deduplicationKey = Buffer.from(once)
    const before = once === '' ? undefined : this.#keys.get(once)
    const duplicate = before !== undefined && before + WINDOW_MS > now
    const isPlain = key === '' && priority === 4 && inMs === 0 && ttlMs === 0 && once === ''
    const verdict = enter(this.bench, message.payload, isPlain ? null : terms)
    if (!counts) return
    if (duplicate) return void expect(verdict).toBe('drop')
    this.#limited(verdict, now)
    if (verdict === 'refuse') return
    if (once !== '') this.#keys.set(once, now)
    for (const reference of this.#references) reference.enter(message, now)
  }

  /** What is past its time counts until somebody comes to take it: for that long both answers are right. */
  #limited(verdict: string, now: number): void {
    const counts = this.#references.map(({ messages, expired }) => {
      const alive = messages.filter(({ state, expiresAt }) => state !== 'ready' || expiresAt > now).length
      return { least: alive, most: messages.length + expired.length }
    })
    const least = Math.max(...counts.map((count) => count.least))
    const most = Math.max(...counts.map((count) => count.most))
    if (least >= MESSAGES_MAX) expect(verdict).toBe('refuse')
    else if (most < MESSAGES_MAX) expect(verdict).toBe('enter')
    else expect(['enter', 'refuse']).toContain(verdict)
  }

  async #redrive(at: number): Promise<void> {
    const { queues } = this.bench
    const name = `${names[at]!}.dead`
    if (queues.find(name) === undefined || !this.#hasRoomForDead(at, 0)) return
    const { id } = await queues.control.redrive(name, {})
    await this.#redriven(at, id)
  }

  /** A redrive waits for room, and nobody here would make it: `queue-room-contract.ts` looks at that. */
  #hasRoomForDead(at: number, others: number): boolean {
    const { queues } = this.bench
    const waiting = queues.get(names[at]!).waiting + queues.intake('work').schedule.waiting
    return waiting + this.#references[at]!.dead.length + others <= MESSAGES_MAX
  }

  /** The job has gone, or goes, to its end. */
  async #redriven(at: number, id: string): Promise<void> {
    const { jobs } = this.bench.queues.control
    const job = await jobs.ended(id)
    expect(job).toMatchObject({ state: 'done', count: this.#references[at]!.dead.length })
    this.#references[at]!.redrive()
  }

  async #pull(at: number, max: number, leaseMs: number): Promise<Delivery[]> {
    const { clock, queues } = this.bench
    const reference = this.#references[at]!
    const available = this.#paused[at] ? [] : reference.available(clock.now())
    let got = await queues.get(names[at]!).pull(max, leaseMs)
    // Across a network a queue may hear of what is durable a moment later.
    for (let i = 0; i < 1000 && got.length === 0 && available.length > 0 && this.bench.store.kind === 'redis'; i++) {
      await this.bench.settled()
      got = await queues.get(names[at]!).pull(max, leaseMs)
    }
    // A batch may be short where memory ends and the store goes on, but never empty.
    expect(got.length).toBeGreaterThanOrEqual(Math.min(1, available.length))
    const taken: Message[] = []
    for (const delivery of got) {
      const [payload] = payloads([delivery])
      const message = available.find((one) => one.payload === payload)
      expect(message, `${payload} is not to be had: ${available.map((one) => one.payload)}`).toBeDefined()
      expect(taken).not.toContain(message)
      expect(delivery.attempt).toBe(message!.attempt + 1)
      this.#inTurn(message!, available, taken)
      taken.push(message!)
    }
    for (const [i, message] of taken.entries()) reference.take(message, got[i]!.receipt, clock.monotonic() + leaseMs)
    return got
  }

  /** Of those that were never handed out and have no key, the highest priority and the first that came. */
  #inTurn(message: Message, available: readonly Message[], taken: readonly Message[]): void {
    if (message.handedOut || message.key !== '' || message.redriven) return
    const before = available.filter(
      ({ handedOut, key, priority, place, deliverAt, redriven }) =>
        !handedOut &&
        !redriven &&
        (deliverAt === 0 || this.bench.store.kind !== 'redis') &&
        key === '' &&
        (priority > message.priority || (priority === message.priority && place < message.place)),
    )
    for (const other of before) expect(taken, `${other.payload} comes before ${message.payload}`).toContain(other)
  }

  async #answer(action: Extract<Step, { pick: number[]; group: number }>): Promise<void> {
    const reference = this.#references[action.group]!
    const queue = this.bench.queues.get(names[action.group]!)
    const { chosen, receipts } = this.#choose(reference, action.pick)
    if (receipts.length === 0) return
    const now = this.bench.clock.monotonic()
    let results: { ok: boolean }[]
    if (action.do === 'ack') results = await queue.ack(receipts)
    else if (action.do === 'extend')
      results = await queue.extend(receipts.map((receipt) => ({ receipt, leaseMs: action.leaseMs })))
    else {
      const delayMs = action.do === 'nack' ? action.delayMs : 0
      const [reject, release] = [action.do === 'reject', action.do === 'release']
      results = await queue.nack(receipts.map((receipt) => ({ receipt, delayMs, reject, release })))
    }
    expect(results.map(({ ok }) => ok)).toEqual(
      receipts.map((receipt) => chosen.some((one) => one.receipt === receipt)),
    )
    for (const message of chosen) {
      if (action.do === 'extend') message.until = now + action.leaseMs
      else if (action.do === 'ack') reference.ack(message)
      else if (action.do === 'release') reference.release(message)
      else reference.fail(message, now, action.do === 'nack' ? action.delayMs : 0, action.do === 'reject')
    }
  }

  /** Some of what is held, and a receipt that counts no longer. */
  #choose(reference: Reference, picks: readonly number[]): { chosen: Message[]; receipts: string[] } {
    const { leased, old } = reference
    const chosen = [...new Set(leased.length === 0 ? [] : picks.map((at) => leased[at % leased.length]!))]
    const stale = old.length === 0 ? [] : [old[picks[0]! % old.length]!]
    return { chosen, receipts: [...chosen.map(({ receipt }) => receipt), ...stale] }
  }

  async #pass(ms: number): Promise<void> {
    const { bench } = this
    await pass(bench, ms)
    // What was read from the store meanwhile and is due already.
    await pass(bench, 1)
    for (const reference of this.#references) reference.passTo(bench.clock.monotonic(), bench.clock.now())
    // A store across a network takes its time to move what is due, and to bury what is dead.
    const scheduled = this.#references[0]!.messages.filter(({ state }) => state === 'scheduled').length
    const { schedule } = bench.queues.intake('work')
    const busy = (): boolean =>
      schedule.waiting > scheduled ||
      names.some((name) => bench.queues.get(name).stripes.some(({ book }) => book.dying > 0))
    for (let i = 0; i < 1000 && busy(); i++) await pass(bench, 0)
  }

  /** Messages that were not acknowledged and answers that were not confirmed are as if they had never been. */
  async #crash({ what, pick: picks, redrive }: Extract<Step, { do: 'crash' }>): Promise<void> {
    const { bench } = this
    await bench.settled()
    const before = new Set(bench.queues.control.jobs.list().map(({ id }) => id))
    const isToRedrive = redrive >= 0 && this.#hasRoomForDead(redrive, what.length)
    const dead = isToRedrive ? bench.queues.find(`${names[redrive]!}.dead`) : undefined
    if (dead !== undefined) {
      void bench.queues.control.redrive(dead.name, {}).catch(() => {})
      // It may be anywhere: not begun, under way, through.
      for (let i = picks[0]! % 14; i > 0; i--) await new Promise((resolve) => setImmediate(resolve))
    }
    for (const one of what) this.#publish(one, false)
    for (const [i, reference] of this.#references.entries()) {
      const queue = bench.queues.get(names[i]!)
      const { chosen } = this.#choose(reference, picks)
      const half = Math.ceil(chosen.length / 2)
      void queue.ack(chosen.slice(0, half).map(({ receipt }) => receipt)).catch(() => {})
      void queue.nack(chosen.slice(half).map(({ receipt }) => ({ receipt, reason: 'crash' }))).catch(() => {})
    }
    await this.#harness.crash()
    bench.clock.forget()
    bench.clock.stepWall(1)
    await bench.open()
    for (const reference of this.#references) reference.restarted()
    // Once it is durable that it is to be done, it is done, whatever happens to the process.
    for (const { id } of bench.queues.control.jobs.list()) if (!before.has(id)) await this.#redriven(redrive, id)
    await this.#pass(0)
  }

  async #takeAll(name: string): Promise<string[]> {
    const queue = this.bench.queues.find(name)
    const taken: string[] = []
    for (;;) {
      const got = (await queue?.pull(1000, 1000)) ?? []
      if (queue === undefined || got.length === 0) return taken
      taken.push(...payloads(got))
      await queue.ack(got.map(({ receipt }) => receipt))
    }
  }

  /** Everything that is not done, dead or past its time still comes, once. */
  async #drain(): Promise<void> {
    for (const [i, name] of names.entries()) {
      await this.bench.queues.pause(name, false)
      this.#paused[i] = false
    }
    await this.#pass(3_000_000)
    for (const [i, reference] of this.#references.entries()) {
      const queue = this.bench.queues.get(names[i]!)
      for (let round = 0; reference.messages.length > 0; round++) {
        expect(round, `left: ${reference.messages.map(({ payload, state }) => `${payload} ${state}`)}`).toBeLessThan(
          500,
        )
        const got = await this.#pull(i, 100, 1000)
        await queue.ack(got.map(({ receipt }) => receipt))
        for (const message of reference.leased) reference.ack(message)
        if (got.length === 0) await this.#pass(1000)
      }
      // What was past its time goes when somebody asks.
      expect(await queue.pull(100, 1000)).toEqual([])
    }
    await this.bench.settled()
    await this.bench.reopen()
    for (const [i, reference] of this.#references.entries()) {
      const name = names[i]!
      expect(this.bench.queues.get(name).waiting).toBe(0)
      expect((await this.#takeAll(`${name}.dead`)).sort()).toEqual(reference.dead.map(({ payload }) => payload).sort())
    }
    expect(this.bench.queues.intake('work').schedule.waiting).toBe(0)
    // Nothing has gone astray.
    for (const queue of this.bench.queues) expect([queue.name, queue.waiting]).toEqual([queue.name, 0])
  }
}

/** @param runs histories; for a longer search HISTORIES says how many for each store, HISTORIES_SEED where to begin */
export function queueHistories(name: string, runs: number, makeHarness: () => CrashHarness): void {
  const harnesses: CrashHarness[] = []
  const numRuns = Number(process.env['HISTORIES'] ?? runs)
  const seed = Number(process.env['HISTORIES_SEED'] ?? Date.now() % 1_000_000_000)
  afterAll(async () => {
    for (const harness of harnesses) await harness.dispose()
  })

  test(`${numRuns} histories on ${name} go as the reference says, over restarts and crashes`, {
    timeout: 600_000 + 1000 * numRuns,
  }, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
        const harness = makeHarness()
        harnesses.push(harness)
        const bench = await new Bench(harness, { settings: { work: settings } }).open()
        try {
          await new History(bench, harness).run(steps)
        } finally {
          await bench.close()
        }
        expect(bench.events.filter((event) => event.startsWith('internalError'))).toEqual([])
      }),
      { numRuns, seed, timeout: 20_000 },
    )
  })
}
