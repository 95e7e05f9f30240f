import { createRequire } from 'node:module'
import { describe, expect, test } from 'vitest'
import { Emitter, type EmitterMessage, type EmitterOptions, type Listener } from '../../src/aedes/emitter.ts'
import { nodeTest } from '../support/node-test-shim.ts'

const require = createRequire(import.meta.url)
type AbstractTests = (options: { builder: (options?: EmitterOptions) => Emitter; test: typeof nodeTest }) => void
const abstractTests = require('mqemitter/abstractTest.js') as AbstractTests

describe("mqemitter's abstract suite", () => {
  abstractTests({ builder: (options) => new Emitter(options), test: nodeTest })
})

const atOnce: Listener = (_message, done) => done()
const never: Listener = () => {}

/** Resolves with the callback's error, or undefined. */
function emitted(emitter: Emitter, topic: string): Promise<Error | null | undefined> {
  return new Promise((resolve) => emitter.emit({ topic }, resolve))
}

describe('listeners', () => {
  test('one that was added twice is called twice, and once when removed once', async () => {
    const emitter = new Emitter()
    let calls = 0
    const listener: Listener = (_message, done) => {
      calls++
      done()
    }
    emitter.on('a', listener).on('a', listener)
    await emitted(emitter, 'a')
    expect(calls).toBe(2)
    emitter.removeListener('a', listener)
    await emitted(emitter, 'a')
    expect(calls).toBe(3)
    emitter.removeListener('a', listener).removeListener('a', listener)
    await emitted(emitter, 'a')
    expect(calls).toBe(3)
  })

  test('one that leaves while a message is handed out is still called with it, and not with the next', async () => {
    const emitter = new Emitter()
    const calls: string[] = []
    const second: Listener = (_message, done) => {
      calls.push('second')
      done()
    }
    emitter.on('a', (_message, done) => {
      calls.push('first')
      emitter.removeListener('a', second)
      done()
    })
    emitter.on('a', second)
    await emitted(emitter, 'a')
    await emitted(emitter, 'a')
    expect(calls).toEqual(['first', 'second', 'first'])
  })

  test('removeAllListeners removes those of the topic and calls back', async () => {
    const emitter = new Emitter()
    const calls: string[] = []
    emitter.on('a', (_message, done) => {
      calls.push('a')
      done()
    })
    emitter.on('+', (_message, done) => {
      calls.push('+')
      done()
    })
    await new Promise<void>((resolve) => emitter.removeAllListeners('a', resolve))
    await emitted(emitter, 'a')
    expect(calls).toEqual(['+'])
  })

  test('has tells whether a topic has listeners, and generation when that may have changed', () => {
    const emitter = new Emitter()
    const { generation } = emitter
    expect(emitter.has('a/b')).toBe(false)
    emitter.on('a/+', atOnce)
    expect(emitter.has('a/b')).toBe(true)
    expect(emitter.generation).toBeGreaterThan(generation)
    const then = emitter.generation
    emitter.removeListener('a/+', atOnce)
    expect(emitter.has('a/b')).toBe(false)
    expect(emitter.generation).toBeGreaterThan(then)
  })

  test('topics that start with $ are not hidden, as in mqemitter', async () => {
    const emitter = new Emitter()
    const topics: string[] = []
    emitter.on('#', (message, done) => {
      topics.push(message.topic)
      done()
    })
    await emitted(emitter, '$SYS/x')
    expect(topics).toEqual(['$SYS/x'])
  })

  test('a many-level wildcard before the end and options of more than one character are refused', () => {
    expect(() => new Emitter().on('a/#/b', atOnce)).toThrow(TypeError)
    expect(() => new Emitter({ separator: '::' })).toThrow(TypeError)
    expect(() => new Emitter({ wildcardOne: '' })).toThrow(TypeError)
  })
})

describe('concurrency', () => {
  test('messages above it wait, in order', async () => {
    const emitter = new Emitter({ concurrency: 2 })
    const held: (() => void)[] = []
    const order: string[] = []
    emitter.on('#', (message, done) => {
      order.push(message.topic)
      held.push(done)
    })
    const all = ['a', 'b', 'c', 'd'].map((topic) => emitted(emitter, topic))
    expect([emitter.current, emitter.length, order]).toEqual([2, 2, ['a', 'b']])
    held[1]!()
    expect([emitter.current, emitter.length, order]).toEqual([2, 1, ['a', 'b', 'c']])
    held[0]!()
    held[2]!()
    held[3]!()
    await Promise.all(all)
    expect([emitter.current, emitter.length, order]).toEqual([0, 0, ['a', 'b', 'c', 'd']])
  })

  test('a slot is free only after the callback: current counts the message whose callback runs', async () => {
    const emitter = new Emitter({ concurrency: 1 })
    const seen = await new Promise((resolve) => emitter.emit({ topic: 'a' }, () => resolve(emitter.current)))
    expect(seen).toBe(1)
    expect(emitter.current).toBe(0)
  })

  test('a listener that never calls back keeps its slot and leaves the others to other topics', async () => {
    const emitter = new Emitter({ concurrency: 2 })
    emitter.on('stuck', never).on('fine', atOnce)
    emitter.emit({ topic: 'stuck' })
    for (let i = 0; i < 100; i++) await emitted(emitter, 'fine')
    expect([emitter.current, emitter.length]).toEqual([1, 0])
  })

  test('without a limit no number of stuck messages stops another topic', async () => {
    const emitter = new Emitter()
    emitter.on('stuck', never).on('fine', atOnce)
    for (let i = 0; i < 1000; i++) emitter.emit({ topic: 'stuck' })
    await emitted(emitter, 'fine')
    expect([emitter.current, emitter.length]).toEqual([1000, 0])
  })

  test('more than waitingMax messages are refused, and the rest is delivered', async () => {
    const emitter = new Emitter({ concurrency: 1, waitingMax: 2 })
    const held: (() => void)[] = []
    emitter.on('a', (_message, done) => held.push(done))
    const accepted = [emitted(emitter, 'a'), emitted(emitter, 'a'), emitted(emitter, 'a')]
    expect(await emitted(emitter, 'a')).toMatchObject({ code: 'quota_exceeded' })
    for (let i = 0; i < 3; i++) held[i]!()
    expect(await Promise.all(accepted)).toEqual([undefined, undefined, undefined])
  })

  test('what waits when the emitter closes is delivered, what comes later is refused', async () => {
    const emitter = new Emitter({ concurrency: 1 })
    const held: (() => void)[] = []
    emitter.on('a', (_message, done) => held.push(done))
    const accepted = [emitted(emitter, 'a'), emitted(emitter, 'a')]
    await new Promise<void>((resolve) => emitter.close(resolve))
    expect(await emitted(emitter, 'a')).toMatchObject({ code: 'server_shutting_down' })
    held[0]!()
    held[1]!()
    expect(await Promise.all(accepted)).toEqual([undefined, undefined])
  })
})

describe('the stack (facts/aedes.md 31)', () => {
  test('20,000 waiting messages complete at once when the listener that held them leaves', async () => {
    const emitter = new Emitter({ concurrency: 1 })
    let release = (): void => {}
    const holding: Listener = (_message, done) => {
      release = done
    }
    emitter.on('a', holding)
    let completed = 0
    const all = new Promise<void>((resolve) => {
      for (let i = 0; i < 20_000; i++) {
        emitter.emit({ topic: 'a' }, () => {
          if (++completed === 20_000) resolve()
        })
      }
    })
    emitter.removeListener('a', holding)
    release()
    await all
    expect([emitter.current, emitter.length]).toEqual([0, 0])
  })

  test.each([0, 1, 10])('a callback that emits the next message, 50,000 times, with concurrency %i', (concurrency) => {
    const emitter = new Emitter({ concurrency })
    emitter.on('a', atOnce)
    let left = 50_000
    const next = (): void => {
      if (--left > 0) emitter.emit({ topic: 'a' }, next)
    }
    emitter.emit({ topic: 'a' }, next)
    expect([left, emitter.current, emitter.length]).toEqual([0, 0, 0])
  })
})

describe('failures', () => {
  function reporting(options: EmitterOptions = {}): { emitter: Emitter; reports: [unknown, EmitterMessage][] } {
    const reports: [unknown, EmitterMessage][] = []
    return { reports, emitter: new Emitter({ ...options, onError: (...report) => reports.push(report) }) }
  }

  test('a listener that throws is reported, counts as done, and the other listeners get the message', async () => {
    const { emitter, reports } = reporting({ concurrency: 1 })
    const error = new Error('listener')
    let calls = 0
    emitter.on('a', () => {
      throw error
    })
    emitter.on('a', (_message, done) => {
      calls++
      done()
    })
    await emitted(emitter, 'a')
    await emitted(emitter, 'a')
    expect(calls).toBe(2)
    expect(reports).toEqual([
      [error, { topic: 'a' }],
      [error, { topic: 'a' }],
    ])
    expect([emitter.current, emitter.length]).toEqual([0, 0])
  })

  test('calling done twice, or throwing after it, counts once', async () => {
    const { emitter, reports } = reporting()
    emitter.on('a', (_message, done) => {
      done()
      done()
      throw new Error('after done')
    })
    let release = (): void => {}
    emitter.on('a', (_message, done) => {
      release = done
    })
    let completed = 0
    emitter.emit({ topic: 'a' }, () => completed++)
    expect([completed, emitter.current, reports.length]).toEqual([0, 1, 1])
    release()
    release()
    expect([completed, emitter.current]).toEqual([1, 0])
  })

  test('a callback that throws is reported and the next messages go on', async () => {
    const { emitter, reports } = reporting({ concurrency: 1 })
    emitter.emit({ topic: 'a' }, () => {
      throw new Error('callback')
    })
    await emitted(emitter, 'a')
    expect(reports.length).toBe(1)
    expect(emitter.current).toBe(0)
  })

  test('an onError that throws does not leave the emitter stuck', async () => {
    const emitter = new Emitter({
      onError: () => {
        throw new Error('onError')
      },
    })
    emitter.on('a', () => {
      throw new Error('listener')
    })
    const others = process.listeners('uncaughtException')
    process.removeAllListeners('uncaughtException')
    const caught = new Promise((resolve) => process.once('uncaughtException', resolve))
    try {
      await emitted(emitter, 'a')
      expect(await caught).toMatchObject({ message: 'onError' })
      await emitted(emitter, 'b')
      expect(emitter.current).toBe(0)
    } finally {
      for (const listener of others) process.on('uncaughtException', listener)
    }
  })

  test('a message without a topic is refused', () => {
    expect(() => new Emitter().emit({} as EmitterMessage)).toThrow('topic')
  })

  test('without onError what is thrown becomes an uncaughtException, after the message is done', async () => {
    const emitter = new Emitter()
    const error = new Error('nobody catches me')
    emitter.on('a', () => {
      throw error
    })
    const others = process.listeners('uncaughtException')
    process.removeAllListeners('uncaughtException')
    const caught = new Promise((resolve) => process.once('uncaughtException', resolve))
    try {
      expect(await emitted(emitter, 'a')).toBeUndefined()
      expect(await caught).toBe(error)
    } finally {
      for (const listener of others) process.on('uncaughtException', listener)
    }
  })
})
