/** The connection that carries groups and reads, in order, and its scripts. */
import { createHash } from 'node:crypto'
import type { Clock } from '../../base/clock.ts'
import { breakConnection, type RedisClient, serversOf } from '../../base/redis-connection.ts'
import { keepPulse } from '../../base/redis-pulse.ts'
import { SluiceError } from '../../errors.ts'
import * as scripts from './scripts.ts'

export type ScriptName = keyof typeof scripts
export type Reply = Buffer | number | null | Reply[]

const hashes = Object.fromEntries(
  Object.entries(scripts).map(([name, text]) => [name, createHash('sha1').update(text).digest('hex')]),
) as Record<ScriptName, string>

/** Oldest server that has what the scripts use (`XADD key 0-*`). */
const MAJOR_MIN = 7

export interface Patience {
  /** How long a question may take, lost connections included, in ms. */
  readonly commitTimeoutMs: number
  /** How long a connection may be silent, in ms. */
  readonly answerTimeoutMs: number
}

/** Pause before a question is asked again, in ms. */
const AGAIN_MS = 50

export class Link {
  readonly client: RedisClient
  /** Commands may be given. */
  ready = false
  #replies = 0
  #opened = false
  readonly #clock: Clock
  readonly #patience: Patience
  readonly #waiting: (() => void)[] = []
  readonly #onReady: () => void
  readonly #onAway: () => void
  readonly #stopPulse: () => void

  /** @param onReady also called after each time the connection came back, once the scripts are loaded */
  constructor(client: RedisClient, clock: Clock, patience: Patience, onReady: () => void, onAway: () => void) {
    this.#clock = clock
    this.#patience = patience
    this.#onReady = onReady
    this.#onAway = onAway
    this.client = client
    this.client.on('error', () => {})
    this.#stopPulse = keepPulse(client, clock, patience.answerTimeoutMs, false)
  }

  /** @throws SluiceError store_unavailable when there is no answer in time; store_version: the server is too old */
  async open(timeoutMs: number): Promise<void> {
    const client = this.client
    if (client.status !== 'ready') {
      await new Promise<void>((resolve, reject) => {
        let last = 'no answer'
        const give = setUp(client, {
          ready: () => done(resolve),
          error: (error) => {
            last = error.message
            if (/WRONGPASS|NOAUTH|NOPERM/.test(last)) done(() => reject(unavailable(last)))
          },
        })
        const timer = AbortSignal.timeout(timeoutMs)
        const late = (): void => done(() => reject(unavailable(last)))
        timer.addEventListener('abort', late)
        const done = (finish: () => void): void => {
          timer.removeEventListener('abort', late)
          give()
          finish()
        }
      })
    }
    const version = /redis_version:(\d+)/.exec(await client.info('server'))?.[1]
    if (version !== undefined && Number(version) < MAJOR_MIN)
      throw new SluiceError('store_version', `Redis ${version} is too old; ${MAJOR_MIN}.0 is needed`)
    await this.#load()
    this.#opened = true
    this.ready = true
    client.on('ready', () => this.#again())
    client.on('close', () => this.#away())
    if (client.status !== 'ready') this.#away()
  }

  /** Runs a script, which may be run twice, whose first key is `key`; replies are numbers and Buffers. */
  run(name: ScriptName, key: string, ...args: (string | number | Buffer)[]): Promise<Reply> {
    return this.ask(() => this.once(name, key, args))
  }

  /** Runs a script once, loading it where Redis has forgotten it. */
  async once(
    name: ScriptName,
    key: string,
    args: (string | number | Buffer)[],
    arrived?: (place: number) => void,
  ): Promise<Reply> {
    try {
      return await this.evaluate(name, key, args, arrived)
    } catch (error) {
      if (!(error as Error).message.startsWith('NOSCRIPT')) throw error
      await this.#load()
      return this.evaluate(name, key, args, arrived)
    }
  }

  /**
   * Asks what may be asked again, until there is an answer or it takes too long.
   * @param patienceMs how long that is; infinite for what nobody would ask for again
   * @param when it is not asked before this holds, also on a new connection
   * @throws SluiceError store_unavailable
   */
  async ask<T>(
    question: (client: RedisClient) => Promise<T>,
    patienceMs = this.#patience.commitTimeoutMs,
    when = (): boolean => true,
  ): Promise<T> {
    const until = this.#clock.monotonic() + patienceMs
    let last = 'it is away'
    do {
      if (this.ready && when()) {
        const cancel = this.#clock.after(this.#patience.answerTimeoutMs, () => this.break())
        try {
          return await question(this.client)
        } catch (error) {
          last = (error as Error).message
          if (!passes(error)) break
        } finally {
          cancel()
        }
      }
      await this.#moment()
    } while (this.#opened && this.#clock.monotonic() < until)
    throw unavailable(last)
  }

  /** Until the connection stands again, or a little while. */
  #moment(): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#clock.after(AGAIN_MS, resolve)
      this.#waiting.push(() => {
        cancel()
        resolve()
      })
    })
  }

  /**
   * @param arrived called with the place of the reply among all: of two that tell how much there is, the later one counts. Whoever waits for
   * the promise may go on before one whose reply came earlier.
   */
  async evaluate(
    name: ScriptName,
    key: string,
    args: (string | number | Buffer)[],
    arrived?: (place: number) => void,
  ): Promise<Reply> {
    const reply = (await this.client.callBuffer('EVALSHA', hashes[name], 1, key, ...args)) as Reply
    arrived?.(this.nextPlace())
    return reply
  }

  nextPlace(): number {
    return ++this.#replies
  }

  /** Ends the connection; it comes back by itself. */
  break(): void {
    if (this.#opened) breakConnection(this.client)
  }

  close(): void {
    this.#opened = false
    this.ready = false
    this.#stopPulse()
    this.client.disconnect()
  }

  async #load(): Promise<void> {
    const servers = serversOf(this.client, 'master')
    await Promise.all(servers.flatMap((server) => Object.values(scripts).map((text) => server.script('LOAD', text))))
  }

  #again(): void {
    if (!this.#opened) return
    this.#load().then(
      () => {
        if (!this.#opened || this.client.status !== 'ready') return
        this.ready = true
        this.#onReady()
        for (const go of this.#waiting.splice(0)) go()
      },
      () => this.break(),
    )
  }

  #away(): void {
    if (!this.ready) return
    this.ready = false
    this.#onAway()
  }
}

function setUp(client: RedisClient, on: { ready: () => void; error: (error: Error) => void }): () => void {
  client.on('ready', on.ready)
  client.on('error', on.error)
  return () => {
    client.off('ready', on.ready)
    client.off('error', on.error)
  }
}

const unavailable = (why: string): SluiceError => new SluiceError('store_unavailable', `Redis does not answer: ${why}`)

/** Error replies that pass: Redis is loading, failing over, busy, or has forgotten the script or the group before. */
const PASSING = new Set(
  (
    'NOSCRIPT GROUP_GAP GROUP_STALE LOADING READONLY CLUSTERDOWN MASTERDOWN TRYAGAIN MOVED ASK BUSY UNBLOCKED ' +
    'NOREPLICAS'
  ).split(' '),
)

/** Asking again may help: the connection was lost, or Redis says that it cannot just now. */
export function passes(error: unknown): boolean {
  const why = refusal(error)
  return why === null || PASSING.has(why)
}

/** What Redis says in an error reply, by its first word; null: the error is not an answer of Redis. */
export function refusal(error: unknown): string | null {
  if (!(error instanceof Error) || error.name !== 'ReplyError') return null
  return /^(?:ERR )?(\w+)/.exec(error.message)?.[1] ?? 'ERR'
}
