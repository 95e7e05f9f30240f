/**
 * The walk: an operation is done again and again, and each time another one of its store calls fails, the first, the second …
 * until it gets through without. After each, the faults end, the broker is killed or goes on, and the reference model looks
 * whether anything that was acknowledged is missing and whether memory says what the disk says.
 */
import { SluiceError } from '../../../src/errors.ts'
import type { Store } from '../../../src/store.ts'
import type { Version } from '../../support/raw-packets.ts'
import { SeededRandom } from '../../support/seeded-random.ts'
import { type Kind, kinds, type Operation, operations, WalkCast } from './ops.ts'

export interface WalkResult {
  readonly runs: number
  /** Calls that failed, by kind. */
  readonly failed: Record<Kind, number>
  readonly violations: string[]
}

export interface WalkOptions {
  readonly versions?: readonly Version[]
  readonly kinds?: readonly Kind[]
  readonly operations?: readonly Operation[]
  readonly violationsMax?: number
}

/** No operation has more store calls than this. */
const CALLS_MAX = 300

/** Fails the n-th call, once. */
class NthCall {
  left: number
  constructor(n: number) {
    this.left = n
  }
  armed = false
  get reached(): boolean {
    return this.left <= 0
  }
  hits(): boolean {
    return this.armed && --this.left === 0
  }
}

export async function walk(options: WalkOptions = {}): Promise<WalkResult> {
  const { versions = [4, 5], violationsMax = 5 } = options
  const failed: Record<Kind, number> = { batch: 0, read: 0, call: 0 }
  const violations: string[] = []
  let runs = 0
  for (const operation of options.operations ?? operations)
    for (const version of versions)
      for (const kind of (options.kinds ?? kinds).filter((one) => !operation.gaps?.includes(one)))
        for (const killed of [false, true])
          for (let n = 1; n <= CALLS_MAX; n++) {
            const { reached, found } = await once(operation, version, kind, killed, n)
            runs++
            if (reached) failed[kind]++
            const how = `${operation.name}, MQTT ${version}: ${kind} ${n} fails${killed ? ', then kill -9' : ''}`
            for (const violation of found) violations.push(`${how}\n${violation}`)
            if (violations.length >= violationsMax) return { runs, failed, violations }
            if (!reached) break
          }
  return { runs, failed, violations }
}

async function once(operation: Operation, version: Version, kind: Kind, killed: boolean, n: number) {
  const call = new NthCall(n)
  const broken = (): SluiceError => new SluiceError('store_unavailable', `the lab broke ${kind} ${n}`)
  const cast = new WalkCast(
    {
      seed: n,
      random: new SeededRandom(n),
      rules: {
        fate: () => (kind === 'batch' && call.hits() ? 'refuse' : 'pass'),
        read: () => {
          if (kind === 'read' && call.hits()) throw broken()
        },
      },
      ...(kind === 'call' && { wrap: (store) => breaking(store, call, broken) }),
    },
    version,
  )
  const { scene } = cast
  const uncaught = (error: unknown): void =>
    scene.trace.violation(`nobody caught: ${error instanceof Error ? error.stack : String(error)}`)
  process.on('uncaughtException', uncaught)
  process.on('unhandledRejection', uncaught)
  try {
    await cast.begin()
    await operation.prepare?.(cast)
    scene.refusing(true)
    scene.trace.note(`${operation.name}, ${kind} ${n} fails`)
    call.armed = true
    await operation.act(cast)
    await scene.world.pass(100)
    call.armed = false
    scene.trace.note('no more faults')
    if (killed) scene.world.crash()
    await scene.finish(cast.watcher.client)
  } catch (error) {
    scene.trace.violation(`the run broke: ${(error as Error).stack}`)
  } finally {
    process.off('uncaughtException', uncaught)
    process.off('unhandledRejection', uncaught)
  }
  return { reached: call.reached, found: scene.violations() }
}

/**
 * Those that may have to read what is not in memory. The others (`put…`, most of `delete…`) only note what the next commit is
 * to write, in every adapter, and have nothing that could fail.
 */
const breakable = new Set<string | symbol>([
  'append',
  'settle',
  'mark',
  'read',
  'marks',
  'dropLane',
  'deleteSession',
  'meta',
  'laneNames',
])
const promising = new Set<string | symbol>(['read', 'marks'])

/** The store, with a call that fails. A call that fails has done nothing. */
function breaking(store: Store, call: NthCall, broken: () => SluiceError): Store {
  return new Proxy(store, {
    get(target, name) {
      const value = Reflect.get(target, name, target) as unknown
      if (typeof value !== 'function') return value
      return (...args: unknown[]) => {
        if (breakable.has(name) && call.hits()) {
          if (promising.has(name)) return Promise.reject(broken())
          throw broken()
        }
        return (value as (...given: unknown[]) => unknown).apply(target, args)
      }
    },
  })
}
