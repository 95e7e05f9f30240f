/**
 * Runs suites written for `node:test` inside vitest: the contract suites that aedes-persistence and mqemitter ship
 * take a `test` function and talk to `t.assert`, `t.plan` and `t.diagnostic`.
 *
 *     import { nodeTest } from '../support/node-test-shim.ts'
 *     abstractTests({ test: nodeTest, builder })
 *
 * Unlike node:test, a failed assertion fails its test at once, also where the code under test swallows what the
 * suite's callbacks throw: otherwise such a test would wait for its time limit, or pass.
 */
import assert from 'node:assert'
import { test } from 'vitest'

export type TestBody = (t: NodeTestContext) => unknown
export interface NodeTestOptions {
  skip?: boolean | string
  todo?: boolean | string
  only?: boolean
  /** Milliseconds; the runner's own limit where absent. */
  timeout?: number
}

/** The part of node:test's TestContext that the suites use. */
export interface NodeTestContext {
  readonly name: string
  /** Every function of node:assert; each call counts towards `plan`. */
  readonly assert: Record<string, (...args: unknown[]) => unknown>
  /** How many assertions and subtests must have run when the body is done. */
  plan(count: number): void
  /** Always fails. (node:test has no such method; suites call it to fail by a TypeError.) */
  fail(message?: string): never
  diagnostic(message: string): void
  /** Marks the test skipped. As in node:test the body still runs on; here its outcome no longer counts. */
  skip(message?: string): void
  todo(message?: string): void
  before(hook: TestBody): void
  /** Runs after the body, in the order registered, also when the body failed. */
  after(hook: TestBody): void
  beforeEach(hook: TestBody): void
  afterEach(hook: TestBody): void
  /** A subtest, run at once as a part of its parent. */
  test(name: string, options: NodeTestOptions | TestBody, body?: TestBody): Promise<void>
}

class Skipped extends Error {}

class Run implements NodeTestContext {
  readonly name: string
  readonly assert: Record<string, (...args: unknown[]) => unknown> = {}
  readonly failed: Promise<never>
  skipped: string | null = null
  #fail!: (error: unknown) => void
  #planned: number | null = null
  #counted = 0
  #after: TestBody[] = []
  #beforeEach: TestBody[] = []
  #afterEach: TestBody[] = []

  constructor(name: string) {
    this.name = name
    this.failed = new Promise((_resolve, reject) => {
      this.#fail = reject
    })
    this.failed.catch(() => {})
    for (const [key, check] of Object.entries(assert)) {
      if (typeof check !== 'function' || key === 'AssertionError' || key === 'strict' || key === 'Assert') continue
      this.assert[key] = (...args) => this.#count(check as (...args: unknown[]) => unknown, args)
    }
  }

  #count(check: (...args: unknown[]) => unknown, args: unknown[]): unknown {
    this.#counted++
    try {
      const result = check(...args)
      if (result instanceof Promise) result.catch(this.#fail)
      return result
    } catch (error) {
      this.#fail(error)
      throw error
    }
  }

  plan(count: number): void {
    this.#planned = count
  }

  fail(message = 't.fail was called'): never {
    const error = new assert.AssertionError({ message })
    this.#fail(error)
    throw error
  }

  diagnostic(): void {}
  todo(): void {}

  skip(message = ''): void {
    this.skipped = message
    this.#fail(new Skipped(message))
  }

  before(hook: TestBody): void {
    Promise.resolve(hook(this)).catch(this.#fail)
  }
  after(hook: TestBody): void {
    this.#after.push(hook)
  }
  beforeEach(hook: TestBody): void {
    this.#beforeEach.push(hook)
  }
  afterEach(hook: TestBody): void {
    this.#afterEach.push(hook)
  }

  async test(name: string, options: NodeTestOptions | TestBody, body?: TestBody): Promise<void> {
    this.#counted++
    const [settings, run] = typeof options === 'function' ? [{}, options] : [options, body]
    if (settings.skip || settings.todo || run === undefined) return
    for (const hook of this.#beforeEach) await hook(this)
    const child = new Run(`${this.name} > ${name}`)
    try {
      await child.perform(run)
    } catch (error) {
      this.#fail(error)
      throw error
    } finally {
      for (const hook of this.#afterEach) await hook(this)
    }
  }

  /** Runs the body and its `after` hooks, then compares the plan. Rejects with the first failure. */
  async perform(body: TestBody): Promise<void> {
    try {
      await Promise.race([Promise.resolve(body(this)), this.failed])
    } catch (error) {
      if (!(error instanceof Skipped)) throw error
    } finally {
      for (const hook of this.#after) await hook(this)
    }
    if (this.skipped !== null) return
    if (this.#planned !== null) {
      assert.equal(this.#counted, this.#planned, `planned ${this.#planned} assertions, ${this.#counted} ran`)
    }
    // An assertion that failed in an `after` hook, or that the body caught, has settled this promise.
    await Promise.race([this.failed, Promise.resolve()])
  }
}

/** node:test's `test(name, [options], body)`, registering a vitest test. */
export function nodeTest(name: string, options: NodeTestOptions | TestBody, body?: TestBody): void {
  const [settings, run] = typeof options === 'function' ? [{}, options] : [options, body]
  if (run === undefined || settings.todo) {
    test.todo(name)
    return
  }
  test.skipIf(Boolean(settings.skip))(
    name,
    settings.timeout === undefined ? {} : { timeout: settings.timeout },
    async (context) => {
      const t = new Run(name)
      await t.perform(run)
      if (t.skipped !== null) context.skip(t.skipped)
    },
  )
}
nodeTest.skip = (name: string, _options?: NodeTestOptions | TestBody, _body?: TestBody): void => {
  test.skip(name, () => {})
}
