import { beforeEach, describe, expect, test } from 'vitest'
import type { Clock } from '../../src/base/clock.ts'
import { Backpressure, type Pausable } from '../../src/connection/backpressure.ts'
import type { Store } from '../../src/store.ts'

let pendingBytes: number
let timers: (() => void)[]
let pressure: Backpressure

class Publisher implements Pausable {
  paused = false
  pausePublishing(): void {
    expect(this.paused).toBe(false)
    this.paused = true
  }
  resumePublishing(): void {
    expect(this.paused).toBe(true)
    this.paused = false
  }
}

beforeEach(() => {
  pendingBytes = 0
  timers = []
  const store = {
    get pendingBytes() {
      return pendingBytes
    },
  } as Store
  const clock = { after: (_ms: number, fn: () => void) => void timers.push(fn) } as unknown as Clock
  pressure = new Backpressure(store, 1000, clock)
})

function publish(publisher: Publisher, subscriber: object): void {
  pressure.publisher = publisher
  pressure.full(subscriber)
  pressure.publisher = null
}

describe('publishers are slowed down', () => {
  test('by the disk, until half of what waited is on it', () => {
    const publisher = new Publisher()
    pendingBytes = 999
    pressure.published(publisher)
    expect(publisher.paused).toBe(false)
    pendingBytes = 1000
    pressure.published(publisher)
    pressure.published(publisher)
    expect(publisher.paused).toBe(true)
    pendingBytes = 501
    pressure.committed()
    expect(publisher.paused).toBe(true)
    pendingBytes = 500
    pressure.committed()
    expect(publisher.paused).toBe(false)
  })

  test('by a subscriber with much unsent, until it has taken everything', () => {
    const publisher = new Publisher()
    const subscriber = {}
    publish(publisher, subscriber)
    publish(publisher, subscriber)
    expect(publisher.paused).toBe(true)
    pressure.drained(subscriber)
    expect(publisher.paused).toBe(false)
  })

  test('by a slow subscriber only once: then it costs only itself, until it has caught up', () => {
    const publisher = new Publisher()
    const subscriber = {}
    publish(publisher, subscriber)
    timers.shift()!()
    expect(publisher.paused).toBe(false)
    publish(publisher, subscriber)
    expect(publisher.paused).toBe(false)
    pressure.drained(subscriber)
    publish(publisher, subscriber)
    expect(publisher.paused).toBe(true)
  })

  test('for each reason by itself: one that ends does not end the others', () => {
    const publisher = new Publisher()
    const [one, other] = [{}, {}]
    publish(publisher, one)
    publish(publisher, other)
    pendingBytes = 2000
    pressure.published(publisher)
    pressure.drained(one)
    pressure.drained(other)
    expect(publisher.paused).toBe(true)
    pendingBytes = 0
    pressure.committed()
    expect(publisher.paused).toBe(false)
  })

  test('not by a message of the broker itself, and not after either side is gone', () => {
    const publisher = new Publisher()
    const subscriber = new Publisher()
    pressure.full(subscriber)
    publish(publisher, subscriber)
    pressure.forget(subscriber)
    expect(publisher.paused).toBe(false)
    publish(publisher, {})
    pressure.forget(publisher)
    for (const timer of timers) timer()
    expect(publisher.paused).toBe(true)
  })
})
