/**
 * The fuzzer: many connections at once say spoiled conversations to a running broker, while it is watched: the process
 * lives and has nothing to say on stderr, a bystander is not disturbed, workers get what the queue holds, what the broker
 * says is well-formed, and its memory comes back.
 */
import type { Version } from '../support/raw-packets.ts'
import { SeededRandom } from '../support/seeded-random.ts'
import { Bystander } from './bystander.ts'
import { makeConversation } from './conversations.ts'
import { inPieces, mutate } from './mutate.ts'
import { type Play, play } from './play.ts'
import { shrinkList, shrinkPieces } from './shrink.ts'
import { type FuzzTarget, QueueDrain } from './target.ts'

export interface FuzzOptions {
  readonly seed: number
  /** Ends after this many spoiled packets … */
  readonly packets: number
  /** … or after this time. */
  readonly seconds: number
  /** Number of the first conversation; each follows from the seed and its number. */
  readonly from: number
  /** Connections at one time. */
  readonly concurrency: number
  /** Requires the memory to come back. */
  readonly watchMemory: boolean
  readonly bystander: boolean
  readonly report: (line: string) => void
}

export interface FuzzResult {
  readonly conversations: number
  readonly packets: number
  /** As many of them were spoiled. */
  readonly mutated: number
  readonly seconds: number
  readonly echoes: number
  readonly slowestEchoMs: number
  readonly queued: number
  readonly memory: Memory
  readonly failure: string | null
}

interface Memory {
  /** Of the fresh process. */
  fresh: number
  /** After the first half, when caches are full and the allocator has had its peaks, and a rest. */
  before: number
  peak: number
  /** At the end, after a rest. */
  after: number
}

/** One conversation as it is played. */
export interface Spoiled extends Play {
  readonly number: number
  /** The same bytes, cut between packets. */
  readonly packets: readonly Buffer[]
  /** How many of them are spoiled. */
  readonly mutated: number
}

/** The conversation of this number. */
export function spoiledConversation(seed: number, number: number): Spoiled {
  const random = new SeededRandom(seed).fork(`conversation ${number}`)
  const recorded = makeConversation(random)
  const foreign = makeConversation(random)
  const said = mutate(recorded.packets, random, foreign.packets)
  const version: Version | null = said[0]!.mutated ? null : recorded.version
  return {
    number,
    version,
    pieces: inPieces(said, random),
    leave: random.chance(0.5) ? 'end' : 'reset',
    deaf: random.chance(0.02),
    packets: said.map(({ bytes }) => bytes),
    mutated: said.filter(({ mutated }) => mutated).length,
  }
}

/** Of the conversations that were under way when something went wrong, the cause is looked for in this many. */
const suspectsMax = 300
/** Longer than sessions, wills and slow readers live. */
const expiryMs = 6000
const restMs = 1000
const restsMax = 10
const toleratedGrowth = 1.1
const settleMs = 30
/** Attempts to make a failure smaller. */
const shrinkTriesMax = 400

const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

export async function fuzz(target: FuzzTarget, options: FuzzOptions): Promise<FuzzResult> {
  const run = new Run(target, options)
  return run.all()
}

class Run {
  readonly #target: FuzzTarget
  readonly #o: FuzzOptions
  readonly #bystander = new Bystander()
  readonly #drain = new QueueDrain()
  readonly #started = performance.now()
  readonly #memory: Memory
  #next: number
  #packets = 0
  #mutated = 0
  #recent: Spoiled[] = []
  #failure: string | null = null

  constructor(target: FuzzTarget, options: FuzzOptions) {
    this.#target = target
    this.#o = options
    this.#next = options.from
    const fresh = target.residentBytes()
    this.#memory = { fresh, before: fresh, peak: fresh, after: fresh }
  }

  async all(): Promise<FuzzResult> {
    const { packets, watchMemory } = this.#o
    if (watchMemory) {
      await this.#phase(packets / 2)
      this.#memory.before = await this.#rest(0)
    }
    await this.#phase(packets)
    if (watchMemory && this.#failure === null) {
      const goal = this.#memory.before * toleratedGrowth
      this.#memory.after = await this.#rest(goal)
      if (this.#memory.after > goal) this.#failure = `the memory did not come back: ${JSON.stringify(this.#memory)}`
    }
    const seconds = this.#seconds
    return {
      conversations: this.#next - this.#o.from,
      packets: this.#packets,
      mutated: this.#mutated,
      seconds,
      echoes: this.#bystander.echoes,
      slowestEchoMs: this.#bystander.slowestMs,
      queued: this.#drain.taken,
      memory: this.#memory,
      failure: this.#failure === null ? null : await this.#explain(this.#failure),
    }
  }

  get #seconds(): number {
    return (performance.now() - this.#started) / 1000
  }

  /** Plays until so many packets were spoiled in all. */
  async #phase(until: number): Promise<void> {
    if (this.#failure !== null) return
    const { bystander, concurrency, seconds, report } = this.#o
    if (bystander) await this.#bystander.start(this.#target.mqtt)
    if (this.#target.http !== null) this.#drain.start(this.#target.http)
    const watch = setInterval(() => this.#look(), 100)
    const tell = setInterval(() => report(this.#line()), 10_000)
    const worker = async (): Promise<void> => {
      while (this.#mutated < until && this.#failure === null && this.#seconds < seconds) await this.#one()
    }
    await Promise.all(Array.from({ length: concurrency }, worker))
    await this.#bystander.stop().catch(() => {})
    await this.#drain.stop()
    clearInterval(watch)
    clearInterval(tell)
    this.#look()
  }

  async #one(): Promise<void> {
    const conversation = spoiledConversation(this.#o.seed, this.#next++)
    this.#packets += conversation.packets.length
    this.#mutated += conversation.mutated
    this.#recent.push(conversation)
    if (this.#recent.length > suspectsMax) this.#recent.shift()
    const wrong = await play(this.#target.mqtt, conversation)
    if (wrong !== null) this.#fail(wrong)
  }

  #look(): void {
    this.#memory.peak = Math.max(this.#memory.peak, this.#target.residentBytes())
    const failure = this.#target.failure() ?? this.#bystander.failure ?? this.#drain.failure
    if (failure !== null) this.#fail(failure)
  }

  #fail(failure: string): void {
    // A process that ended has more to say than the connection it refused.
    this.#failure = this.#target.failure() ?? this.#failure ?? failure
  }

  /** Nobody is connected: lets sessions expire and garbage go until the memory is at the goal, or has had the time to be. */
  async #rest(goal: number): Promise<number> {
    await wait(expiryMs)
    let least = Number.POSITIVE_INFINITY
    for (let i = 0; i < restsMax && least > goal; i++) {
      await this.#target.collectGarbage()
      await wait(restMs)
      least = Math.min(least, this.#target.residentBytes())
    }
    return least
  }

  #line(): string {
    const mib = (this.#target.residentBytes() / 2 ** 20).toFixed(0)
    const { echoes, slowestMs } = this.#bystander
    return `${this.#seconds.toFixed(0)} s: ${this.#mutated} spoiled packets of ${this.#packets} in ${
      this.#next - this.#o.from
    } conversations, ${mib} MiB, ${echoes} echoes, the slowest ${slowestMs.toFixed(0)} ms`
  }

  /** Looks for the conversation that brings the failure about alone, makes it smaller, and says how to see it again. */
  async #explain(failure: string): Promise<string> {
    const { seed, report } = this.#o
    const suspects = this.#recent
    const where = `seed ${seed}, conversations ${suspects[0]?.number} to ${suspects.at(-1)?.number}`
    report(`FAILED: ${failure}\n${where}; looking for the cause`)
    let tries = 0
    const fails = async (plays: readonly Play[]): Promise<boolean> => {
      if (++tries > shrinkTriesMax) return false
      return (await tryAlone(this.#target, plays)) !== null
    }
    try {
      const at = await firstToFail(this.#target, suspects)
      if (at === null) return `${failure}\n${where}; not seen again when they are played one after the other`
      const alone = suspects.slice(at, at + 1)
      const culprits = (await fails(alone)) ? alone : await shrinkList(suspects.slice(0, at + 1), fails)
      const last = culprits.at(-1)!
      const others = culprits.slice(0, -1)
      const stillFails = (pieces: readonly Buffer[]): Promise<boolean> => fails([...others, { ...last, pieces }])
      const pieces = await shrinkPieces(last.pieces, last.packets, stillFails)
      const hex = [...others.map(hexOf), hexOf({ ...last, pieces })].join('\n\n')
      return `${failure}\n${where}; conversation ${culprits.map(({ number }) => number).join(' and ')}, made smaller:\n${hex}`
    } catch (error) {
      return `${failure}\n${where}; looking for the cause failed: ${(error as Error).message}`
    }
  }
}

function hexOf({ pieces, version, leave }: Play): string {
  return [`# level ${version ?? 'spoiled'}, ${leave}`, ...pieces.map((piece) => piece.toString('hex'))].join('\n')
}

/** Plays them one after the other to a healthy target, and says what went wrong. */
export async function tryAlone(target: FuzzTarget, plays: readonly Play[]): Promise<string | null> {
  if (target.failure() !== null) await target.restart()
  for (const one of plays) {
    const wrong = await play(target.mqtt, one)
    if (wrong !== null) return target.failure() ?? wrong
  }
  // What it has to say about them may take a moment.
  await wait(settleMs)
  return target.failure()
}

/** Place of the one after which something is wrong, or null. */
async function firstToFail(target: FuzzTarget, plays: readonly Play[]): Promise<number | null> {
  await target.restart()
  for (const [at, one] of plays.entries()) {
    if ((await play(target.mqtt, one)) !== null || target.failure() !== null) return at
  }
  await wait(settleMs)
  return target.failure() === null ? null : plays.length - 1
}
