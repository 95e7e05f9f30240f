/** The connection that carries groups and reads, in order, and its scripts. */
import { createHash } from 'node:crypto'
import { Cluster } from 'ioredis'
import { breakConnection, type RedisClient } from '../../base/redis-connection.ts'
import { SluiceError } from '../../errors.ts'
import * as scripts from './scripts.ts'

export type ScriptName = keyof typeof scripts
export type Reply = Buffer | number | null | Reply[]

const hashes = Object.fromEntries(
  Object.entries(scripts).map(([name, text]) => [name, createHash('sha1').update(text).digest('hex')]),
) as Record<ScriptName, string>

/** Oldest server that has what the scripts use (`XADD key 0-*`). */
const MAJOR_MIN = 7

export class Link {
  readonly client: RedisClient
  /** Commands may be given. */
  ready = false
  #opened = false
  readonly #onReady: () => void
  readonly #onAway: () => void

  /** @param onReady also called after each time the connection came back, once the scripts are loaded */
  constructor(client: RedisClient, onReady: () => void, onAway: () => void) {
    this.#onReady = onReady
    this.#onAway = onAway
    this.client = client
    this.client.on('error', () => {})
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

  /** Runs a script whose first key is `key`; replies are numbers and Buffers. */
  async run(name: ScriptName, key: string, ...args: (string | number | Buffer)[]): Promise<Reply> {
    try {
      return await this.evaluate(name, key, args)
    } catch (error) {
      if (!(error as Error).message.startsWith('NOSCRIPT')) throw error
      await this.#load()
      return this.evaluate(name, key, args)
    }
  }

  evaluate(name: ScriptName, key: string, args: (string | number | Buffer)[]): Promise<Reply> {
    return this.client.callBuffer('EVALSHA', hashes[name], 1, key, ...args) as Promise<Reply>
  }

  /** Ends the connection; it comes back by itself. */
  break(): void {
    if (this.#opened) breakConnection(this.client)
  }

  close(): void {
    this.#opened = false
    this.ready = false
    this.client.disconnect()
  }

  async #load(): Promise<void> {
    const { client } = this
    const nodes = client instanceof Cluster ? client.nodes('master') : [client]
    await Promise.all(nodes.flatMap((node) => Object.values(scripts).map((text) => node.script('LOAD', text))))
  }

  #again(): void {
    if (!this.#opened) return
    this.#load().then(
      () => {
        if (!this.#opened || this.client.status !== 'ready') return
        this.ready = true
        this.#onReady()
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

/** What Redis says in an error reply, by its first word; null: the error is not an answer of Redis. */
export function refusal(error: unknown): string | null {
  if (!(error instanceof Error) || error.name !== 'ReplyError') return null
  return /^(?:ERR )?(\w+)/.exec(error.message)?.[1] ?? 'ERR'
}
