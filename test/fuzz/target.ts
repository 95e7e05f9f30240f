import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import WebSocket from 'ws'
import { BrokerProcess } from '../support/broker-process.ts'
import { scramUser } from '../support/scram-client.ts'
import { scramPassword, scramUserName } from './conversations.ts'

/** What is fuzzed. */
export interface FuzzTarget {
  readonly mqtt: { host: string; port: number }
  /** Base URL of the HTTP face, or null when there is none. */
  readonly http: string | null
  /** What is wrong with it, or null: it ended, or said something on stderr. */
  failure(): string | null
  /** Resident memory of its own, in bytes: pages of the store's file, which the system takes back at will, not counted. */
  residentBytes(): number
  /** Has it let go of what it does not need. */
  collectGarbage(): Promise<void>
  /** Starts from nothing: no data, no memory. */
  restart(): Promise<void>
  stop(): Promise<void>
}

/** Every limit small enough that a run reaches it, and everything that a client can touch switched on. */
const config = {
  allowAnonymous: true,
  bridge: [{ topicFilter: 'fuzz/queue', queue: 'fuzz' }],
  clientEvents: true,
  sys: { intervalSeconds: 1 },
  mqtt: { validatePayloadFormat: true },
  authentication: { scram: { users: { [scramUserName]: scramUser(scramPassword, 'salt of the fuzzer') } } },
  limits: {
    packetBytesMax: 128 * 1024,
    connectTimeoutMs: 1000,
    sessionExpirySecondsMax: 3,
    retainedMessagesMax: 200,
    sessionQueuedMessagesMax: 500,
    sessionQueuedBytesMax: 1024 * 1024,
    subscriptionsPerSessionMax: 20,
    inflightMax: 20,
    receiveMaximum: 20,
    outboundBytesMax: 256 * 1024,
    drainTimeoutMs: 1000,
  },
  // Whoever is refused is a warning; what is an error should never happen.
  log: { level: 'error', format: 'json' },
}

/** What Node says about the inspector, which is no complaint. */
const debuggerLines = /^(Debugger (listening|attached|ending)|For help, see|Waiting for the debugger).*\n?/gm

/** The broker as a process of its own. */
export class BrokerTarget implements FuzzTarget {
  readonly #store: 'lmdb' | 'memory'
  #broker: BrokerProcess | null = null

  constructor(store: 'lmdb' | 'memory') {
    this.#store = store
  }

  static async start(store: 'lmdb' | 'memory'): Promise<BrokerTarget> {
    const target = new BrokerTarget(store)
    await target.restart()
    return target
  }

  get mqtt() {
    return this.#broker!.mqtt
  }
  get http() {
    return this.#broker!.http
  }
  failure(): string | null {
    const { running } = this.#broker!
    const stderr = this.#broker!.stderr.replace(debuggerLines, '')
    if (!running) return `the broker process ended; stderr: ${stderr.slice(-4000)}`
    return stderr === '' ? null : `the broker said on stderr: ${stderr.slice(0, 4000)}`
  }
  residentBytes(): number {
    if (!this.#broker!.running) return 0
    const status = readFileSync(`/proc/${this.#broker!.pid}/status`, 'utf8')
    return Number(/RssAnon:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1024
  }
  async collectGarbage(): Promise<void> {
    // V8 lets a heap grow while there is room, and an idle process never makes it smaller by itself.
    const url = /^Debugger listening on (ws:\S+)/m.exec(this.#broker!.stderr)?.[1]
    if (url === undefined) throw new Error('the process under test has no inspector')
    const inspector = new WebSocket(url)
    await once(inspector, 'open')
    inspector.send(JSON.stringify({ id: 1, method: 'HeapProfiler.collectGarbage' }))
    await once(inspector, 'message')
    inspector.close()
    await once(inspector, 'close')
  }
  async restart(): Promise<void> {
    await this.#broker?.stop()
    // With glibc's arena for each thread the allocator keeps tens of MiB of a peak, now in this one, now in that one.
    const env = { NODE_OPTIONS: '--inspect=127.0.0.1:0', MALLOC_ARENA_MAX: '1' }
    this.#broker = await BrokerProcess.start({ config, store: this.#store, env })
  }
  async stop(): Promise<void> {
    await this.#broker?.stop()
  }
}

/** Takes and acknowledges whatever the bridge put into the queue, so that it does not grow for ever. */
export class QueueDrain {
  taken = 0
  failure: string | null = null
  #stop: AbortController | null = null
  #running: Promise<void> = Promise.resolve()

  start(http: string): void {
    this.#stop = new AbortController()
    this.#running = this.#drain(`${http}/api/v1/queues/fuzz`, this.#stop.signal)
  }

  async stop(): Promise<void> {
    this.#stop?.abort()
    await this.#running
  }

  async #drain(url: string, signal: AbortSignal): Promise<void> {
    const post = async (path: string, body: object): Promise<unknown> => {
      const headers = { 'content-type': 'application/json' }
      const answer = await fetch(`${url}/${path}`, { method: 'POST', headers, body: JSON.stringify(body), signal })
      if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`)
      return answer.json()
    }
    try {
      while (!signal.aborted) {
        const { messages } = (await post('pull', { max: 1000, waitMs: 1000 })) as { messages: { receipt: string }[] }
        if (messages.length === 0) continue
        await post('ack', { receipts: messages.map(({ receipt }) => receipt) })
        this.taken += messages.length
      }
    } catch (error) {
      if (!signal.aborted) this.failure = `the queue API failed: ${(error as Error).message}`
    }
  }
}
