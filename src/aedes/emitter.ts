import assert from 'node:assert'
import { SluiceError } from '../errors.ts'
import type { LevelSyntax } from '../router/level-syntax.ts'
import { TopicTree } from '../router/topic-tree.ts'

export interface EmitterMessage {
  topic: string
}

/** Calls `done` once it is finished with the message; until then the message holds its slot. */
export type Listener<M extends EmitterMessage = EmitterMessage> = (
  this: Emitter<M>,
  message: M,
  done: (error?: unknown) => void,
) => void

export interface EmitterOptions {
  /** Messages under way at a time; 0, the default, does not limit them, and then nothing ever waits. */
  concurrency?: number
  /** Whether the one-level wildcard takes an empty level. Default true. */
  matchEmptyLevels?: boolean
  /** One character each. Defaults `/`, `+` and `#`. */
  separator?: string
  wildcardOne?: string
  wildcardSome?: string
  /** Messages that may wait for a slot; `emit` refuses more with `quota_exceeded`. Default 100,000. */
  waitingMax?: number
  /**
   * Gets what a listener or a callback throws. Without it the error is thrown again outside of the emitter, where it
   * is an uncaughtException: a bug is never hidden, but neither does it leave the emitter in the middle of a message.
   */
  onError?: (error: unknown, message: EmitterMessage) => void
}

/** The listeners of one filter in the order they came; one that came twice is called twice. */
interface Listeners<M extends EmitterMessage> {
  readonly topic: string
  list: readonly Listener<M>[]
}

interface Delivery<M> {
  readonly message: M
  readonly callback: EmitCallback | undefined
  /** Listeners that have not called back. */
  pending: number
}

export type EmitCallback = (error?: Error | null) => void

/**
 * mqemitter's public face on our TopicTree: what `broker.mq` is, for code written against Aedes. Messages of devices do
 * not pass through it.
 *
 *     emit ──▶ waiting (no slot free) ──▶ under way (`current`) ──all listeners done──▶ completed: callback, slot free
 *
 * - A message is handed to its listeners inside `emit`, or inside the completion that freed its slot.
 * - Completions are worked off in one loop, never one inside the other, so neither thousands of waiting messages nor a
 *   callback that emits the next message can overflow the stack. (mqemitter: facts/aedes.md 31.)
 * - A message goes to the listeners there were when it was handed out; one that leaves meanwhile is still called.
 * - A listener that throws counts as done; calling `done` twice counts once.
 * - A listener that never calls back keeps the slot of each such message for ever and holds up nothing else: other
 *   topics go on in the other slots. With `concurrency` n, n such messages are the end; with 0 there is no end to wait for.
 * - Unlike mqemitter, `removeListener` removes at once; a listener with one parameter gets the message, not `done`; and the
 *   many-level wildcard stands only at the end of a filter. As in mqemitter, topics that start with `$` are not hidden from
 *   wildcards.
 */
export class Emitter<M extends EmitterMessage = EmitterMessage> {
  readonly concurrency: number
  /** Messages under way, those whose callback is just running included. */
  current = 0
  closed = false
  readonly #tree: TopicTree<Listeners<M>>
  readonly #listeners = new Map<string, Listeners<M>>()
  readonly #syntax: LevelSyntax
  readonly #waitingMax: number
  readonly #onError: (error: unknown, message: EmitterMessage) => void
  readonly #waiting = new Fifo<Delivery<M>>()
  readonly #completed = new Fifo<Delivery<M>>()
  #working = false

  constructor(options: EmitterOptions = {}) {
    this.concurrency = options.concurrency ?? 0
    this.#waitingMax = options.waitingMax ?? 100_000
    this.#onError = options.onError ?? throwOutside
    this.#syntax = {
      separator: codeOf('separator', options.separator ?? '/'),
      one: codeOf('wildcardOne', options.wildcardOne ?? '+'),
      some: codeOf('wildcardSome', options.wildcardSome ?? '#'),
      matchEmptyLevels: options.matchEmptyLevels ?? true,
    }
    this.#tree = new TopicTree({ syntax: this.#syntax, hideDollar: false })
  }

  /** Messages that wait for a slot. */
  get length(): number {
    return this.#waiting.length
  }

  /** Changes with the set of filters that have listeners: what was found by `has` holds while it stays. */
  get generation(): number {
    return this.#tree.generation
  }

  /** How many listeners the topic has. */
  count(topic: string): number {
    let count = 0
    this.#tree.match(topic, ({ list }) => {
      count += list.length
    })
    return count
  }

  /** True when somebody listens to the topic. */
  has(topic: string): boolean {
    return this.count(topic) > 0
  }

  /**
   * Calls the listener with every message whose topic matches; `done` follows in a later turn.
   * @throws {TypeError} when the many-level wildcard is not the last level.
   */
  on(topic: string, listener: Listener<M>, done?: () => void): this {
    assert(topic)
    assert(listener)
    this.#refuseInnerSome(topic)
    const listeners = this.#listeners.get(topic)
    if (listeners === undefined) {
      const added = { topic, list: [listener] }
      this.#listeners.set(topic, added)
      this.#tree.add(topic, added)
    } else {
      listeners.list = [...listeners.list, listener]
    }
    if (done) setImmediate(done)
    return this
  }

  /** Takes back the last `on` of the same topic and listener; `done` follows in a later turn. */
  removeListener(topic: string, listener: Listener<M>, done?: () => void): this {
    assert(topic)
    assert(listener)
    const listeners = this.#listeners.get(topic)
    const place = listeners === undefined ? -1 : listeners.list.lastIndexOf(listener)
    if (listeners !== undefined && place !== -1) {
      if (listeners.list.length === 1) this.#drop(listeners)
      else listeners.list = listeners.list.filter((_, i) => i !== place)
    }
    if (done) setImmediate(done)
    return this
  }

  /** Takes back every `on` of this topic; other filters that match the same topics stay. */
  removeAllListeners(topic: string, done?: () => void): this {
    assert(topic)
    const listeners = this.#listeners.get(topic)
    if (listeners !== undefined) this.#drop(listeners)
    if (done) setImmediate(done)
    return this
  }

  /**
   * Hands the message to every listener whose filter matches its topic. The callback is called once all of them are
   * done, with an error only when the emitter is closed or `waitingMax` messages wait.
   */
  emit(message: M, callback?: EmitCallback): this {
    assert(typeof message?.topic === 'string', 'a message needs a topic')
    if (this.closed) {
      callback?.(new SluiceError('server_shutting_down', 'The emitter is closed.'))
      return this
    }
    const delivery = { message, callback, pending: 0 }
    if (this.concurrency > 0 && this.current >= this.concurrency) {
      if (this.#waiting.length >= this.#waitingMax) {
        callback?.(new SluiceError('quota_exceeded', `The emitter holds waitingMax = ${this.#waitingMax} messages.`))
        return this
      }
      this.#waiting.push(delivery)
    } else {
      this.#start(delivery)
    }
    this.#work()
    return this
  }

  /** Refuses messages from now on; what waits or is under way is still delivered. */
  close(done?: () => void): this {
    this.closed = true
    if (done) setImmediate(done)
    return this
  }

  #start(delivery: Delivery<M>): void {
    const called: Listener<M>[] = []
    this.#tree.match(delivery.message.topic, (listeners) => {
      for (const listener of listeners.list) called.push(listener)
    })
    this.current++
    delivery.pending = called.length
    if (called.length === 0) this.#completed.push(delivery)
    for (const listener of called) this.#call(listener, delivery)
  }

  #call(listener: Listener<M>, delivery: Delivery<M>): void {
    let isDone = false
    const done = (): void => {
      if (isDone) return
      isDone = true
      if (--delivery.pending > 0) return
      this.#completed.push(delivery)
      this.#work()
    }
    try {
      listener.call(this, delivery.message, done)
    } catch (error) {
      this.#report(error, delivery.message)
      done()
    }
  }

  /** Calls back for what is completed and starts what waits, until there is nothing left of either. */
  #work(): void {
    if (this.#working) return
    this.#working = true
    for (;;) {
      const completed = this.#completed.shift()
      if (completed !== undefined) {
        try {
          completed.callback?.()
        } catch (error) {
          this.#report(error, completed.message)
        }
        this.current--
        continue
      }
      if (this.#waiting.length === 0 || this.current >= this.concurrency) break
      this.#start(this.#waiting.shift()!)
    }
    this.#working = false
  }

  #report(error: unknown, message: M): void {
    try {
      this.#onError(error, message)
    } catch (another) {
      throwOutside(another)
    }
  }

  #drop(listeners: Listeners<M>): void {
    this.#listeners.delete(listeners.topic)
    this.#tree.remove(listeners.topic, listeners)
  }

  #refuseInnerSome(topic: string): void {
    const { separator, some } = this.#syntax
    const levels = topic.split(String.fromCharCode(separator))
    const place = levels.indexOf(String.fromCharCode(some))
    if (place !== -1 && place < levels.length - 1) {
      throw new TypeError(`The many-level wildcard must be the last level: ${topic}`)
    }
  }
}

/** A queue whose `shift` does not move what is left. */
class Fifo<T> {
  #items: T[] = []
  #first = 0

  get length(): number {
    return this.#items.length - this.#first
  }

  push(item: T): void {
    this.#items.push(item)
  }

  shift(): T | undefined {
    if (this.#first === this.#items.length) return undefined
    const item = this.#items[this.#first++]
    if (this.#first === this.#items.length) {
      this.#items.length = 0
      this.#first = 0
    } else if (this.#first >= 4096) {
      this.#items = this.#items.slice(this.#first)
      this.#first = 0
    }
    return item
  }
}

function codeOf(option: string, character: string): number {
  if (character.length !== 1) throw new TypeError(`${option} must be one character`)
  return character.charCodeAt(0)
}

function throwOutside(error: unknown): void {
  setImmediate(() => {
    throw error
  })
}
