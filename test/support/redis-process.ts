/** A redis-server of its own for a test: loopback, a port of its own, data in a temporary folder, killed with real signals. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { Redis } from 'ioredis'
import { lastingPort } from './ports.ts'

export const hasRedis: boolean = spawnSync('redis-server', ['--version']).error === undefined

export interface RedisProcessOptions {
  /** When the append-only file is flushed. Default `always`: what is answered survives kill -9 and power loss. */
  appendfsync?: 'always' | 'everysec' | 'no'
  /** More arguments, e.g. `['--maxmemory', '10mb']`. */
  args?: string[]
}

export class RedisProcess {
  readonly port: number
  readonly #dir: string
  readonly #options: RedisProcessOptions
  #child: ChildProcess | null = null
  #exited: Promise<void> = Promise.resolve()
  #admin: Redis | null = null

  private constructor(port: number, options: RedisProcessOptions) {
    this.port = port
    this.#options = options
    this.#dir = fs.mkdtempSync(path.join(os.tmpdir(), 'sluicemq-redis-'))
  }

  static async start(options: RedisProcessOptions = {}): Promise<RedisProcess> {
    const redis = new RedisProcess(await lastingPort(), options)
    try {
      await redis.start()
    } catch (error) {
      fs.rmSync(redis.#dir, { recursive: true, force: true })
      throw error
    }
    return redis
  }

  /** A Sentinel with this configuration file, which it rewrites. */
  static async startSentinel(config: string): Promise<RedisProcess> {
    const sentinel = new RedisProcess(await lastingPort(), {})
    await sentinel.#run(
      [config, '--sentinel', '--port', String(sentinel.port), '--bind', '127.0.0.1'],
      /monitor master/,
    )
    return sentinel
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`
  }

  get pid(): number {
    return this.#child?.pid ?? 0
  }

  /** A connection for looking at and disturbing the server; closed by `stop` and `kill`. */
  get admin(): Redis {
    if (this.#admin === null) {
      this.#admin = new Redis(this.port, '127.0.0.1', { retryStrategy: () => 20 })
      this.#admin.on('error', () => {})
    }
    return this.#admin
  }

  /** Starts (again) on the same port and data; resolves when it answers. */
  async start(): Promise<void> {
    const { appendfsync = 'always', args = [] } = this.#options
    const persistence = [
      '--save',
      '',
      '--appendonly',
      appendfsync === 'no' ? 'no' : 'yes',
      '--appendfsync',
      appendfsync,
    ]
    const place = ['--port', String(this.port), '--bind', '127.0.0.1', '--dir', this.#dir, '--loglevel', 'notice']
    await this.#run([...place, ...persistence, ...args], /Ready to accept connections/)
  }

  async #run(args: string[], ready: RegExp): Promise<void> {
    const child = spawn('redis-server', args, { stdio: ['ignore', 'pipe', 'ignore'] })
    this.#child = child
    this.#exited = new Promise<void>((resolve) => child.on('close', () => resolve()))
    await new Promise<void>((resolve, reject) => {
      let text = ''
      child.stdout!.setEncoding('utf8').on('data', (more: string) => {
        text = (text + more).slice(-10_000)
        if (ready.test(text)) resolve()
      })
      void this.#exited.then(() => reject(new Error(`redis-server ended: ${text}`)))
    })
  }

  /** Ends the process with the signal and waits until it is gone. The data stays. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    this.#admin?.disconnect()
    this.#admin = null
    this.#child?.kill(signal)
    await this.#exited
    this.#child = null
  }

  /** SIGSTOP: connections stand and nothing answers. */
  freeze(): void {
    this.#child?.kill('SIGSTOP')
  }

  thaw(): void {
    this.#child?.kill('SIGCONT')
  }

  /** Removes all data. */
  async flush(): Promise<void> {
    await this.admin.flushall()
  }

  async stop(): Promise<void> {
    this.thaw()
    await this.kill()
    fs.rmSync(this.#dir, { recursive: true, force: true })
  }
}

/** Stands between a client and Redis; can freeze (bytes wait), cut (connections end) and be let go again. */
export class RedisProxy {
  readonly #server: net.Server
  readonly #pairs = new Set<{ near: net.Socket; far: net.Socket }>()
  #frozen = false
  /** What the server answers is thrown away, so that the client does not learn the outcome. */
  dropAnswers = false

  private constructor(target: number) {
    this.#server = net.createServer((near) => {
      const far = net.connect(target, '127.0.0.1')
      const pair = { near, far }
      this.#pairs.add(pair)
      const end = (): void => {
        this.#pairs.delete(pair)
        near.destroy()
        far.destroy()
      }
      near.on('data', (bytes) => far.write(bytes))
      far.on('data', (bytes) => {
        if (!this.dropAnswers) near.write(bytes)
      })
      for (const socket of [near, far]) socket.on('close', end).on('error', end)
      if (this.#frozen) for (const socket of [near, far]) socket.pause()
    })
  }

  static async start(target: number): Promise<RedisProxy> {
    const proxy = new RedisProxy(target)
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve))
    return proxy
  }

  get url(): string {
    return `redis://127.0.0.1:${(this.#server.address() as net.AddressInfo).port}`
  }

  freeze(): void {
    this.#frozen = true
    for (const { near, far } of this.#pairs) for (const socket of [near, far]) socket.pause()
  }

  thaw(): void {
    this.#frozen = false
    for (const { near, far } of this.#pairs) for (const socket of [near, far]) socket.resume()
  }

  cut(): void {
    for (const { near, far } of this.#pairs) for (const socket of [near, far]) socket.destroy()
  }

  async stop(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    this.cut()
    await closed
  }
}
