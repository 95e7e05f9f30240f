import type { FastifyInstance } from 'fastify'
import { queueRoutes } from '../../src/admin/routes/queues.ts'
import { createAdminServer, listenAdmin } from '../../src/admin/server.ts'
import { type Clock, systemClock } from '../../src/base/clock.ts'
import { defaultConfig } from '../../src/config/schema.ts'
import { Queues } from '../../src/queue/queues.ts'
import { defaultQueueSettings, type QueueLimits, type QueueSettings } from '../../src/queue/settings.ts'
import { encodeMessage, type Message, NO_EXPIRY } from '../../src/router/message.ts'
import type { Store } from '../../src/store.ts'
import { memoryStore } from '../../src/stores/memory.ts'
import { Events } from '../../src/telemetry/events.ts'
import { createLog } from '../../src/telemetry/log.ts'
import { createMetrics, type Sample } from '../../src/telemetry/metrics.ts'
import { lastingPort } from '../support/ports.ts'

/** Queues in memory behind the HTTP server of the broker, without MQTT. */
export class HttpBench {
  readonly store: Store
  readonly queues: Queues
  app: FastifyInstance
  url = ''

  constructor(
    settings: Record<string, QueueSettings> = { work: fast },
    limits: Partial<QueueLimits> = {},
    clock: Clock = systemClock,
  ) {
    this.store = memoryStore({ clock })
    this.queues = new Queues({ store: this.store, clock, settings, limits })
    this.app = this.#server()
  }

  async open(): Promise<this> {
    await this.store.open()
    await this.queues.open()
    await this.#listen(await lastingPort())
    return this
  }

  /** The port closes with every connection, as when the process dies; queues and messages stay. */
  async goAway(): Promise<void> {
    this.app.server.closeAllConnections()
    await this.app.close()
  }

  async comeBack(): Promise<void> {
    this.app = this.#server()
    await this.#listen(Number(new URL(this.url).port))
  }

  async close(): Promise<void> {
    await this.queues.close()
    this.app.server.closeAllConnections()
    await this.app.close()
    await this.store.close()
  }

  append(payload: string | Buffer, more: Partial<Message> = {}, queue = 'work'): void {
    const message = encodeMessage({
      topic: 'devices/d1/telemetry',
      clientId: 'd1',
      qos: 1,
      retain: false,
      time: Date.now(),
      properties: Buffer.alloc(0),
      payload: Buffer.from(payload),
      expirySeconds: NO_EXPIRY,
      ...more,
    })
    this.store.append(message, [{ lane: this.queues.get(queue).lane, tag: 0, extra: null }])
  }

  async publish(...payloads: (string | Buffer)[]): Promise<void> {
    for (const payload of payloads) this.append(payload)
    await this.store.commit()
  }

  async post(path: string, body?: unknown): Promise<{ status: number; body: Record<string, unknown> }> {
    const response = await fetch(`${this.url}/api/v1/queues/${path}`, {
      method: 'POST',
      ...(body !== undefined && { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
    })
    return { status: response.status, body: (await response.json()) as Record<string, unknown> }
  }

  async get(path: string): Promise<{ status: number; body: Record<string, unknown> }> {
    const response = await fetch(`${this.url}/api/v1${path}`)
    return { status: response.status, body: (await response.json()) as Record<string, unknown> }
  }

  async #listen(port: number): Promise<void> {
    await this.app.register(queueRoutes, { queues: this.queues })
    const address = await listenAdmin(this.app, { host: '127.0.0.1', port })
    this.url = `http://127.0.0.1:${address.port}`
  }

  #server(): FastifyInstance {
    const events = new Events()
    return createAdminServer({
      config: defaultConfig(),
      readiness: () => ({ ready: true }),
      registry: createMetrics(events, () => ({}) as Sample),
      log: createLog({ level: 'silent', format: 'json' }).logger,
    })
  }
}

export const fast: QueueSettings = {
  ...defaultQueueSettings,
  maxAttempts: 3,
  backoff: { minMs: 1, maxMs: 1, factor: 1, jitter: 'none' },
}

/** Waits until the condition holds; fails with its text after some seconds. */
export async function until(what: string, condition: () => boolean): Promise<void> {
  const end = performance.now() + 10_000
  while (!condition()) {
    if (performance.now() > end) throw new Error(`waited in vain: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
}
