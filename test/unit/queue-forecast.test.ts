import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { seededRandom } from '../../src/base/random.ts'
import { erlangB, erlangC, meanWaitSeconds, serversFor } from '../../src/queue/erlang.ts'
import { forecast, type Measured } from '../../src/queue/forecast.ts'
import { MeanMeter, RateMeter } from '../../src/queue/meter.ts'

describe('Erlang’s formulas', () => {
  // Blocking probabilities as in the published tables of the Erlang B formula.
  test.each([
    [1, 1, 0.5],
    [2, 2, 0.4],
    [5, 2.5, 0.0697],
    [10, 5, 0.0184],
    [20, 12, 0.0098],
    [100, 84.06, 0.01],
  ])('B(%d servers, %d erlangs) = %d', (servers, load, expected) => {
    expect(erlangB(servers, load)).toBeCloseTo(expected, 3)
  })

  // M/M/1: ρ; M/M/2 with a = 1: 1/3; the others from tables of the Erlang C formula.
  test.each([
    [1, 0.7, 0.7],
    [2, 1, 1 / 3],
    [3, 2, 4 / 9],
    [5, 4, 0.5541],
    [10, 8, 0.4092],
    [4, 4, 1],
    [4, 0, 0],
  ])('C(%d servers, %d erlangs) = %d', (servers, load, expected) => {
    expect(erlangC(servers, load)).toBeCloseTo(expected, 4)
  })

  test('the mean wait of M/M/1 is ρ·D / (1 - ρ)', () => {
    expect(meanWaitSeconds(1, 0.8, 2)).toBeCloseTo((0.8 * 2) / 0.2, 9)
    expect(meanWaitSeconds(2, 2, 1)).toBe(Number.POSITIVE_INFINITY)
  })

  test('a thousand servers do not overflow', () => {
    expect(erlangC(1000, 950)).toBeGreaterThan(0)
    expect(erlangC(1000, 950)).toBeLessThan(1)
  })

  test('the fewest servers for a wait are enough, and one less is not', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0.01, max: 200, noNaN: true }),
        fc.double({ min: 0.001, max: 10, noNaN: true }),
        fc.double({ min: 0.0001, max: 10, noNaN: true }),
        (load, service, target) => {
          const servers = serversFor(target, load, service)
          expect(meanWaitSeconds(servers, load, service)).toBeLessThanOrEqual(target)
          expect(meanWaitSeconds(servers - 1, load, service)).toBeGreaterThan(target)
        },
      ),
    )
  })
})

describe('beside a simulation', () => {
  /**
   * A queue with workers, message by message: those who come, and how long each takes, are drawn with the given means.
   * @returns mean wait, share of the time workers were busy, messages done per second
   */
  function simulate(seed: number, rate: number, serviceSeconds: number, workers: number, messages: number) {
    const random = seededRandom(seed)
    const drawn = (mean: number): number => -Math.log(1 - random.next()) * mean
    const freeAt = new Array<number>(workers).fill(0)
    let now = 0
    let waited = 0
    let busy = 0
    let end = 0
    for (let i = 0; i < messages; i++) {
      now += drawn(1 / rate)
      const first = freeAt.indexOf(Math.min(...freeAt))
      const begins = Math.max(now, freeAt[first]!)
      const takes = drawn(serviceSeconds)
      waited += begins - now
      busy += takes
      freeAt[first] = begins + takes
      end = Math.max(end, freeAt[first]!)
    }
    return { waitSeconds: waited / messages, busy: busy / (workers * now), doneRate: messages / end }
  }

  const of = (writeRate: number, serviceRate: number, serviceSeconds: number, workers: number): Measured => ({
    ...{ writeRate, serviceRate, serviceSeconds, workers, waiting: 0, waitingBytes: 0, writeBytesRate: 0 },
    ...{ messagesMax: 1e9, bytesMax: 1e12 },
  })

  test('wait, utilisation and C are those of queues whose workers keep up', () => {
    fc.assert(
      fc.property(
        fc.integer(),
        fc.integer({ min: 1, max: 12 }),
        fc.double({ min: 0.3, max: 0.85, noNaN: true }),
        fc.double({ min: 0.001, max: 5, noNaN: true }),
        (seed, workers, load, serviceSeconds) => {
          const rate = (load * workers) / serviceSeconds
          const seen = simulate(seed, rate, serviceSeconds, workers, 60_000)
          const f = forecast(of(rate, seen.doneRate, serviceSeconds, workers), 1)
          expect(f.utilisation).toBeCloseTo(load, 9)
          expect(Math.abs(f.utilisation - seen.busy)).toBeLessThan(0.03)
          expect(Math.abs(f.congestion - 1)).toBeLessThan(0.03)
          expect(f.capacity).toBeGreaterThan(seen.doneRate)
          // A mean of messages that wait for one another is known to a fifth, and to a part of the service time.
          expect(Math.abs(f.waitSeconds - seen.waitSeconds)).toBeLessThan(0.2 * f.waitSeconds + 0.02 * serviceSeconds)
        },
      ),
      // A mean of so many draws lies further away now and then, seldom as that is: the seed is one with which none does.
      { numRuns: 40, seed: 20 },
    )
  })

  test('workers that cannot keep up do P_c, and C says by how much too much comes', () => {
    fc.assert(
      fc.property(
        fc.integer(),
        fc.integer({ min: 1, max: 8 }),
        fc.double({ min: 1.2, max: 4, noNaN: true }),
        fc.double({ min: 0.001, max: 5, noNaN: true }),
        (seed, workers, load, serviceSeconds) => {
          const rate = (load * workers) / serviceSeconds
          const seen = simulate(seed, rate, serviceSeconds, workers, 20_000)
          const f = forecast(of(rate, seen.doneRate, serviceSeconds, workers), 1)
          expect(Math.abs(seen.doneRate / f.capacity - 1)).toBeLessThan(0.05)
          expect(Math.abs(f.congestion / load - 1)).toBeLessThan(0.05)
          expect([f.waitSeconds, f.drainSeconds > 0]).toEqual([Number.POSITIVE_INFINITY, false])
          expect(f.deltaSeconds).toBeCloseTo((f.congestion * serviceSeconds) / rate, 9)
        },
      ),
      { numRuns: 40 },
    )
  })

  test('time to drain and time to full are those of a queue that goes on at its rates', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 1, max: 100, noNaN: true }),
        fc.double({ min: 0.01, max: 1, noNaN: true }),
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 1, max: 5000 }),
        (rate, serviceSeconds, workers, waiting) => {
          const f = forecast({ ...of(rate, 0, serviceSeconds, workers), waiting, messagesMax: 10_000 }, 1)
          const growth = rate - workers / serviceSeconds
          // Second by second, until it is empty or full.
          let left = waiting
          let seconds = 0
          for (; left > 0 && left < 10_000 && seconds < 100_000; seconds++) left += growth
          if (seconds === 100_000) return
          const found = growth < 0 ? f.drainSeconds : f.fullSeconds
          expect(Math.abs(found - seconds)).toBeLessThanOrEqual(1)
        },
      ),
    )
  })
})

describe('the forecast', () => {
  const measured: Measured = {
    writeRate: 50,
    serviceRate: 40,
    serviceSeconds: 0.1,
    workers: 8,
    waiting: 600,
    waitingBytes: 60_000,
    writeBytesRate: 5000,
    messagesMax: 1000,
    bytesMax: 1_000_000,
  }

  test('C = W/R, Δt = C·D/W, P = 1/D, P_c = G·P', () => {
    const f = forecast(measured, 1)
    expect(f.congestion).toBeCloseTo(1.25, 12)
    expect(f.deltaSeconds).toBeCloseTo((1.25 * 0.1) / 50, 12)
    expect([f.capacityPerWorker, f.capacity, f.utilisation]).toEqual([10, 80, 0.625])
  })

  test('with enough workers the queue drains and never fills', () => {
    const f = forecast(measured, 1)
    expect([f.drainSeconds, f.fullSeconds]).toEqual([20, Number.POSITIVE_INFINITY])
    expect(f.waitProbability).toBeCloseTo(erlangC(8, 5), 12)
    expect(f.waitSeconds).toBeCloseTo((erlangC(8, 5) * 0.1) / 3, 12)
    expect(f.workersNeeded).toBe(serversFor(1, 5, 0.1))
  })

  test('with too few it fills, by messages or by bytes, whichever is sooner', () => {
    const few = { ...measured, workers: 4 }
    expect(forecast(few, 1)).toMatchObject({
      drainSeconds: Number.POSITIVE_INFINITY,
      utilisation: 1.25,
    })
    expect(forecast(few, 1).fullSeconds).toBeCloseTo(40, 9)
    expect(forecast({ ...few, bytesMax: 70_000 }, 1).fullSeconds).toBeCloseTo(10, 9)
    expect(forecast({ ...few, waiting: 1000 }, 1).fullSeconds).toBe(0)
  })

  test('an idle queue asks for nothing', () => {
    const idle = {
      ...measured,
      writeRate: 0,
      serviceRate: 0,
      serviceSeconds: 0,
      workers: 0,
      waiting: 0,
      writeBytesRate: 0,
    }
    expect(forecast(idle, 1)).toEqual({
      congestion: 0,
      deltaSeconds: 0,
      capacityPerWorker: 0,
      capacity: 0,
      utilisation: 0,
      waitProbability: 0,
      waitSeconds: 0,
      drainSeconds: 0,
      fullSeconds: Number.POSITIVE_INFINITY,
      workersNeeded: 0,
    })
  })
})

describe('meters', () => {
  test('a rate is found at once and followed within a few minutes', () => {
    const meter = new RateMeter()
    for (let s = 0; s <= 10; s += 5) meter.sample(100 * s, s * 1000)
    expect(meter.perSecond).toBeCloseTo(100, 9)
    for (let s = 15; s <= 315; s += 5) meter.sample(1000 + 10 * (s - 10), s * 1000)
    expect(meter.perSecond).toBeGreaterThan(10)
    expect(meter.perSecond).toBeLessThan(11)
  })

  test('samples that come irregularly weigh as much as the time they stand for', () => {
    const often = new RateMeter()
    const seldom = new RateMeter()
    for (const meter of [often, seldom]) for (const at of [0, 1000]) meter.sample(at / 10, at)
    for (let s = 2; s <= 61; s++) often.sample(100, s * 1000)
    seldom.sample(100, 61_000)
    expect(often.perSecond).toBeCloseTo(seldom.perSecond, 9)
  })

  test('a count that starts anew after a restart is no negative rate', () => {
    const meter = new RateMeter()
    meter.sample(1000, 0)
    meter.sample(5, 1000)
    meter.sample(15, 2000)
    expect(meter.perSecond).toBeCloseTo(10, 9)
  })

  test('a mean stays what it was while nothing happens', () => {
    const meter = new MeanMeter()
    meter.sample(300, 3, 0)
    meter.sample(300, 3, 100_000)
    expect(meter.mean).toBe(100)
    meter.sample(300 + 200, 4, 200_000)
    expect(meter.mean).toBeGreaterThan(195)
  })
})
