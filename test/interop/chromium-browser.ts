/** Headless Chromium without a driver, and the pages it shows: they take steps from the test and send back answers. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { projectRoot } from '../support/broker-process.ts'

const files: Record<string, { file: string; type: string }> = {
  '/': { file: path.join(import.meta.dirname, 'chromium-page.html'), type: 'text/html' },
  '/mqtt.js': { file: path.join(projectRoot(), 'node_modules/mqtt/dist/mqtt.min.js'), type: 'text/javascript' },
}

interface Waiting {
  resolve(result: unknown): void
  reject(error: Error): void
}

/** A page with an origin of its own: a web server on a free loopback port that serves it and speaks to it. */
export class BrowserPage {
  readonly origin: string
  private readonly server: http.Server
  private readonly waiting = new Map<number, Waiting>()
  private steps: http.ServerResponse | null = null
  private onSteps: () => void = () => {}
  private lastId = 0

  private constructor(server: http.Server) {
    this.server = server
    this.origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    server.on('request', (request, response) => void this.serve(request, response))
  }

  static async serve(): Promise<BrowserPage> {
    const server = http.createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    return new BrowserPage(server)
  }

  /** Resolves when a browser shows the page. */
  async shown(timeoutMs: number): Promise<void> {
    if (this.steps) return
    await inTime(timeoutMs, 'the page to be shown', (resolve) => {
      this.onSteps = () => resolve(undefined)
    })
  }

  /** Has the page do one of the operations that chromium-page.html lists; rejects with what it says went wrong. */
  async call<T = unknown>(operation: string, ...args: unknown[]): Promise<T> {
    const { steps } = this
    if (!steps) throw new Error('no browser shows the page')
    const id = ++this.lastId
    const asked = `${operation}(${JSON.stringify(args).slice(1, -1)})`
    return inTime(15_000, asked, (resolve, reject) => {
      this.waiting.set(id, { resolve: resolve as Waiting['resolve'], reject })
      steps.write(`data: ${JSON.stringify({ id, operation, args })}\n\n`)
    })
  }

  async close(): Promise<void> {
    this.server.close()
    this.server.closeAllConnections()
  }

  private async serve(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const found = files[request.url ?? '']
    if (found) {
      response.writeHead(200, { 'content-type': found.type })
      fs.createReadStream(found.file).pipe(response)
    } else if (request.url === '/steps') {
      response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
      response.flushHeaders()
      this.steps = response
      this.onSteps()
    } else if (request.url === '/answers') {
      const text = (await request.toArray()).join('')
      response.writeHead(204).end()
      this.take(JSON.parse(text))
    } else {
      response.writeHead(404).end()
    }
  }

  private take({ id, result, error }: { id: number; result?: unknown; error?: string }): void {
    const waiting = this.waiting.get(id)
    this.waiting.delete(id)
    if (error === undefined) waiting?.resolve(result)
    else waiting?.reject(new Error(error))
  }
}

function inTime<T>(
  timeoutMs: number,
  what: string,
  start: (resolve: (value: T) => void, reject: (error: Error) => void) => void,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${what} took more than ${timeoutMs} ms`)), timeoutMs)
    const finish = <A>(settle: (value: A) => void) => {
      return (value: A) => {
        clearTimeout(timer)
        settle(value)
      }
    }
    start(finish(resolve), finish(reject))
  })
}

/** A headless Chromium with a profile of its own. */
export class Browser {
  /** What it wrote, for messages of failed tests. */
  output = ''
  private readonly child: ChildProcess
  private readonly closed: Promise<unknown>
  private readonly home: string

  constructor(url: string) {
    this.home = fs.mkdtempSync(path.join(os.tmpdir(), 'sluicemq-chromium-'))
    const flags = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-dev-shm-usage']
    flags.push('--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync')
    flags.push('--disable-default-apps', '--disable-extensions', '--no-pings', '--disable-breakpad')
    // Nothing but this machine, whatever a browser thinks it has to ask its maker.
    flags.push('--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1', '--no-proxy-server')
    flags.push(`--user-data-dir=${path.join(this.home, 'profile')}`)
    // `timeout` passes SIGTERM on to all of Chromium's processes and ends them even when nobody is left to do it.
    const limited = ['--kill-after=2', '120', 'chromium', ...flags, url]
    const env = { ...process.env, HOME: this.home, XDG_CONFIG_HOME: this.home, XDG_CACHE_HOME: this.home }
    this.child = spawn('timeout', limited, { stdio: ['ignore', 'pipe', 'pipe'], env })
    for (const stream of [this.child.stdout!, this.child.stderr!]) {
      stream.setEncoding('utf8').on('data', (text) => {
        this.output = (this.output + text).slice(-10_000)
      })
    }
    this.closed = once(this.child, 'close')
  }

  /** Ends it and removes its profile. */
  async close(): Promise<void> {
    this.child.kill('SIGTERM')
    await this.closed
    fs.rmSync(this.home, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })
  }
}
