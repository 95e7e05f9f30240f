import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  BrokerError,
  createWorker,
  LeaseLostError,
  RejectError,
  RetryError,
  type Worker,
  type WorkerMessage,
  type WorkerOptions,
} from '../../src/worker/index.ts'
import { HandClock } from '../support/hand-clock.ts'
import { HttpBench, until } from './queue-bench.ts'

let bench: HttpBench
let worker: Worker<unknown> | null = null
const errors: Error[] = []

beforeEach(async () => {
  bench = await new HttpBench().open()
  errors.length = 0
})
afterEach(async () => {
  await worker?.stop(1000)
  worker = null
  await bench.close()
})

function start(options: Partial<WorkerOptions> & Pick<WorkerOptions, 'handler'>): Worker {
  worker = createWorker({ url: bench.url, queue: 'work', onError: (error) => errors.push(error), ...options })
  return worker
}

const numbered = (count: number): string[] => Array.from({ length: count }, (_, i) => String(i))
const queue = () => bench.queues.get('work')
const drained = () => until('everything is acknowledged', () => queue().lane.waiting === 0)

/** Handlers that end when told. */
class Gate {
  readonly started: WorkerMessage[] = []
  #open: (() => void)[] = []
  readonly handler = (message: WorkerMessage): Promise<void> => {
    this.started.push(message)
    return new Promise((resolve) => this.#open.push(resolve))
  }
  open(): void {
    for (const resolve of this.#open.splice(0)) resolve()
  }
}

describe('a worker', () => {
  test('handles every message once, in order, and acknowledges it', async () => {
    const got: string[] = []
    await bench.publish(...numbered(500))
    start({ handler: (message) => void got.push(message.text()), batch: 50 })
    await drained()
    expect(got).toEqual(numbered(500))
    expect(queue().counters).toMatchObject({ delivered: 500, acked: 500, failed: 0 })
    await bench.publish('late')
    await drained()
    expect(got.at(-1)).toBe('late')
    expect(errors).toEqual([])
  })

  test('acknowledges with the next pull', async () => {
    await bench.publish(...numbered(100))
    const paths: string[] = []
    start({
      fetch: (input, init) => {
        paths.push(String(input).split('/').at(-1)!)
        return fetch(input, init)
      },
      handler: () => {},
      concurrency: 10,
    })
    await drained()
    expect(new Set(paths)).toEqual(new Set(['pull']))
    expect(paths.length).toBeLessThanOrEqual(11)
  })

  test('acknowledges again when the pull that carried it was not answered', async () => {
    await bench.publish(...numbered(20))
    let cut = 0
    start({
      fetch: async (input, init) => {
        const answer = await fetch(input, init)
        const acks = String(init?.body).includes('"ack"')
        if (acks && cut++ === 0) throw new TypeError('cable cut')
        return answer
      },
      handler: () => {},
      concurrency: 5,
      // What lay in the lost answer comes again when its lease is over.
      leaseMs: 1500,
    })
    await drained()
    expect(cut).toBeGreaterThan(0)
    await until('it was said twice', () => queue().counters.receiptsLost === 5)
    // The first time had counted: no fault of the worker.
    expect(errors.filter((error) => error instanceof LeaseLostError)).toEqual([])
    expect(queue().counters.acked).toBe(20)
  })

  test('runs as many handlers at a time as concurrency says, and no more', async () => {
    await bench.publish(...numbered(10))
    const gate = new Gate()
    const { stats } = start({ handler: gate.handler, concurrency: 4 })
    await until('four handlers run', () => stats.running === 4)
    expect(queue().leased).toBe(4)
    gate.open()
    await until('the next four run', () => gate.started.length === 8)
    expect(stats.running).toBe(4)
    gate.open()
    await until('the last two run', () => gate.started.length === 10)
    gate.open()
    await drained()
  })

  test('fetches ahead of the handlers up to batch', async () => {
    await bench.publish(...numbered(10))
    const gate = new Gate()
    start({ handler: gate.handler, concurrency: 1, batch: 5 })
    await until('it works', () => gate.started.length === 1)
    expect(queue().leased).toBe(5)
  })

  test('gives the handler the message with its origin and payload', async () => {
    bench.append(Buffer.from([0xff]), { userName: 'u' })
    bench.append('{"celsius":21.5}')
    await bench.store.commit()
    const got: WorkerMessage<{ celsius: number }>[] = []
    worker = createWorker<{ celsius: number }>({
      url: `${bench.url}/`,
      queue: 'work',
      handler: (message) => void got.push(message),
    }) as Worker
    await drained()
    expect(got[0]).toMatchObject({
      queue: 'work',
      topic: 'devices/d1/telemetry',
      levels: ['devices', 'd1', 'telemetry'],
      clientId: 'd1',
      userName: 'u',
      qos: 1,
      retain: false,
      attempt: 1,
      failures: [],
      properties: {},
    })
    expect([...got[0]!.bytes()]).toEqual([0xff])
    expect(got[1]!.json().celsius).toBe(21.5)
    expect(got[1]!.time.getTime()).toBeGreaterThan(Date.now() - 60_000)
    expect(got[1]!.id).not.toBe(got[0]!.id)
  })

  test('gives a message back with the reason when the handler throws, and gets it again', async () => {
    await bench.publish('a')
    const attempts: string[][] = []
    start({
      handler: (message) => {
        attempts.push(message.failures.map(({ reason }) => reason))
        if (message.attempt < 3) throw new Error(`not yet ${message.attempt}`)
      },
    })
    await drained()
    expect(attempts).toEqual([[], ['not yet 1'], ['not yet 1', 'not yet 2']])
    expect(errors.map(({ message }) => message)).toEqual(['not yet 1', 'not yet 2'])
  })

  test('honours the delay of an error', async () => {
    await bench.publish('a', 'b')
    start({
      handler: (message) => {
        if (message.text() === 'a') throw new RetryError('later', 60_000)
        throw Object.assign(new Error('much later'), { delayMs: 60_000 })
      },
    })
    await until('both wait', () => queue().delayed === 2)
    expect(errors.map(({ message }) => message)).toEqual(['later', 'much later'])
  })

  test('sends what can never be worked straight to the dead letters', async () => {
    await bench.publish('a')
    start({
      handler: () => {
        throw new RejectError('no JSON')
      },
    })
    await until('it is a dead letter', () => bench.queues.find('work.dead')?.ready === 1)
    expect(queue().counters.failed).toBe(1)
  })

  test('extends the leases of what it holds, waiting messages included, and handles nothing twice', async () => {
    const clock = new HandClock()
    await bench.close()
    bench = await new HttpBench(undefined, undefined, clock).open()
    await bench.publish('a', 'b')
    const gate = new Gate()
    const began = clock.monotonic()
    start({
      handler: gate.handler,
      concurrency: 1,
      batch: 2,
      leaseMs: 400,
      fetch: async (input, init) => {
        const answer = await fetch(input, init)
        // To the queue most of a lease passes from one extension to the next.
        if (String(input).endsWith('/extend')) clock.advance(350)
        return answer
      },
    })
    await until('a handler runs', () => gate.started.length === 1)
    await until('three leases have passed', () => clock.monotonic() - began > 1200)
    expect(queue().counters).toMatchObject({ delivered: 2, leasesExpired: 0 })
    gate.open()
    await until('the second runs', () => gate.started.length === 2)
    gate.open()
    await drained()
    expect(gate.started.map(({ attempt }) => attempt)).toEqual([1, 1])
  })

  test('reports a result that came after its lease was over; the message comes again', async () => {
    await bench.publish('a')
    const attempts: number[] = []
    start({
      leaseMs: 200,
      fetch: (input, init) =>
        String(input).endsWith('/extend') ? Promise.reject(new TypeError('cable cut')) : fetch(input, init),
      handler: async (message) => {
        attempts.push(message.attempt)
        if (message.attempt === 1) await until('the lease is over', () => queue().counters.leasesExpired === 1)
      },
    })
    await drained()
    await until('the late result is refused', () => errors.some((error) => error instanceof LeaseLostError))
    expect(attempts).toEqual([1, 2])
    expect(errors.some((error) => error instanceof BrokerError)).toBe(true)
    expect(queue().counters).toMatchObject({ acked: 1, receiptsLost: 1 })
  })

  test('aborts the signal of a message whose extension is refused', async () => {
    await bench.publish('a')
    let reason: unknown = null
    const gone = new Set<string>()
    start({
      leaseMs: 200,
      fetch: async (input, init) => {
        const url = String(input)
        if (!url.endsWith('/extend') || gone.size > 0) return fetch(input, init)
        gone.add(url)
        await until('the lease is over', () => queue().counters.leasesExpired === 1)
        return fetch(input, init)
      },
      handler: async (message) => {
        if (message.attempt > 1) return
        await new Promise<void>((resolve) => message.signal.addEventListener('abort', () => resolve()))
        reason = message.signal.reason
      },
    })
    await drained()
    expect(reason).toBeInstanceOf(LeaseLostError)
  })

  test('goes on when the broker was away, and sends the results it kept', async () => {
    await bench.publish(...numbered(20))
    const gate = new Gate()
    start({ handler: gate.handler, concurrency: 5 })
    await until('five handlers run', () => gate.started.length === 5)
    await bench.goAway()
    gate.open()
    await until('the worker has noticed', () => errors.some((error) => error instanceof BrokerError))
    await bench.comeBack()
    const open = setInterval(() => gate.open(), 5)
    await drained()
    clearInterval(open)
    expect(gate.started.map((message) => message.text())).toEqual(numbered(20))
    expect(queue().counters).toMatchObject({ acked: 20, failed: 0, receiptsLost: 0 })
  })

  test('reports an unknown queue once and goes on asking', async () => {
    let asked = 0
    start({
      queue: 'nope',
      fetch: (input, init) => {
        asked++
        return fetch(input, init)
      },
      handler: () => {},
    })
    await until('it asked three times', () => asked >= 3)
    expect(errors).toMatchObject([{ name: 'BrokerError', status: 404, code: 'queue_unknown' }])
  })

  test('survives an onError that throws', async () => {
    await bench.publish('a')
    const { error } = console
    const printed: unknown[] = []
    console.error = (...line: unknown[]) => void printed.push(line)
    try {
      start({
        onError: () => {
          throw new Error('the logger is broken')
        },
        handler: (message) => {
          if (message.attempt === 1) throw new Error('once')
        },
      })
      await drained()
    } finally {
      console.error = error
    }
    expect(printed.length).toBe(1)
  })

  test.each([{ concurrency: 0 }, { concurrency: 1.5 }, { batch: 1001 }, { leaseMs: 99 }])('refuses %j', (wrong) => {
    expect(() => createWorker({ url: bench.url, queue: 'work', handler: () => {}, ...wrong })).toThrow(RangeError)
  })
})

describe('stop', () => {
  test('lets running handlers finish, gives back what was not started, and pulls no more', async () => {
    await bench.publish(...numbered(10))
    const gate = new Gate()
    const { stats } = start({ handler: gate.handler, concurrency: 2, batch: 6 })
    await until('two handlers run', () => gate.started.length === 2 && queue().leased === 6)
    const stopped = worker!.stop()
    await until('the rest is back', () => queue().ready === 8)
    gate.open()
    await stopped
    expect(queue().counters).toMatchObject({ acked: 2, failed: 0 })
    expect(stats).toMatchObject({ done: 2, running: 0 })
    const [next] = await queue().pull(1, 1000)
    expect(next!.attempt).toBe(1)
  })

  test('ends a long poll at once', async () => {
    start({ handler: () => {} })
    await until('it polls', () => queue().pullsWaiting === 1)
    await worker!.stop()
    await until('the poll is gone', () => queue().pullsWaiting === 0)
    expect(errors).toEqual([])
  })

  test('happens when the signal is aborted, also before the start', async () => {
    const abort = new AbortController()
    start({ handler: () => {}, signal: abort.signal })
    await until('it polls', () => queue().pullsWaiting === 1)
    abort.abort()
    await worker!.stopped
    await start({ handler: () => {}, signal: abort.signal }).stopped
  })

  test('gives up after its time: handlers are told, leases are left to run out', async () => {
    await bench.publish('a')
    let told: boolean | null = null
    start({
      handler: async (message) => {
        told = false
        await new Promise<void>((resolve) => message.signal.addEventListener('abort', () => resolve()))
        told = true
      },
    })
    await until('the handler runs', () => told === false)
    await worker!.stop(50)
    expect(told).toBe(true)
    expect(queue().leased).toBe(1)
  })

  test('does not wait for ever for a broker that is away', async () => {
    await bench.publish('a')
    const gate = new Gate()
    start({ handler: gate.handler })
    await until('the handler runs', () => gate.started.length === 1)
    await bench.goAway()
    gate.open()
    await worker!.stop(100)
    await bench.comeBack()
  })

  test('of one of two workers leaves all work to the other', async () => {
    const done = new Set<string>()
    const handler = (message: WorkerMessage): void => void done.add(message.text())
    await bench.publish(...numbered(200))
    start({ handler, batch: 10 })
    const other = createWorker({ url: bench.url, queue: 'work', handler, batch: 10 })
    await until('both work', () => done.size > 20)
    await worker!.stop()
    await drained()
    await other.stop()
    expect(done.size).toBe(200)
    expect(queue().counters).toMatchObject({ acked: 200, failed: 0 })
  })
})
