/**
 * A stand-in for the broker in the simulator's own tests: stock Aedes for MQTT and a queue in memory behind the HTTP
 * API. It can be told to misbehave, which the real one cannot.
 */
import { createServer as createHttpServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { type AddressInfo, createServer as createTcpServer, type Socket, type Server as TcpServer } from 'node:net'
import { Aedes } from 'aedes'

interface Entry {
  readonly id: string
  readonly topic: string
  readonly payload: string
  attempt: number
}

export class FakeBroker {
  readonly #aedes: Aedes
  readonly #tcp: TcpServer
  readonly #http: Server
  readonly #sockets = new Set<Socket>()
  readonly #ready: Entry[] = []
  readonly #leased = new Map<string, Entry>()
  #nextId = 1
  /** Says for the n-th message into the queue (from 1) how many copies go in. */
  copies: (n: number) => number = () => 1
  acked = 0

  private constructor(aedes: Aedes) {
    this.#aedes = aedes
    this.#tcp = createTcpServer((socket) => {
      socket.setNoDelay(true)
      this.#sockets.add(socket)
      socket.on('close', () => this.#sockets.delete(socket))
      aedes.handle(socket)
    })
    this.#http = createHttpServer((request, response) => void this.#serve(request, response))
    aedes.on('publish', (packet) => {
      if (!/^devices\/[^/]+\/telemetry$/.test(packet.topic)) return
      const id = String(this.#nextId)
      const copies = this.copies(this.#nextId++)
      for (let copy = 0; copy < copies; copy += 1) {
        this.#ready.push({ id, topic: packet.topic, payload: packet.payload.toString(), attempt: 0 })
      }
    })
  }

  static async start(): Promise<FakeBroker> {
    const broker = new FakeBroker(await Aedes.createBroker())
    await new Promise<void>((resolve) => broker.#tcp.listen(0, '127.0.0.1', resolve))
    await new Promise<void>((resolve) => broker.#http.listen(0, '127.0.0.1', resolve))
    return broker
  }

  get url(): string {
    return `mqtt://127.0.0.1:${(this.#tcp.address() as AddressInfo).port}`
  }

  get http(): string {
    return `http://127.0.0.1:${(this.#http.address() as AddressInfo).port}`
  }

  /** Puts a message into the queue that no device sent. */
  enqueue(topic: string, payload: string): void {
    this.#ready.push({ id: String(this.#nextId++), topic, payload, attempt: 0 })
  }

  /** Cuts every MQTT connection without a word. */
  cutConnections(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  async stop(): Promise<void> {
    this.cutConnections()
    this.#http.closeAllConnections()
    await Promise.all([
      new Promise((resolve) => this.#tcp.close(resolve)),
      new Promise((resolve) => this.#http.close(resolve)),
      new Promise<void>((resolve) => this.#aedes.close(resolve)),
    ])
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let text = ''
    for await (const chunk of request) text += chunk
    const body = text === '' ? {} : JSON.parse(text)
    const [, queue, action] = /^\/api\/v1\/queues\/([^/]+)(?:\/(\w+))?$/.exec(request.url ?? '') ?? []
    const answer = (status: number, value: unknown): void => {
      response.writeHead(status, { 'content-type': 'application/json' })
      response.end(JSON.stringify(value))
    }
    if (queue !== 'telemetry') {
      const action = 'Declare the queue in the config file.'
      answer(404, { error: { code: 'queue_unknown', message: `There is no queue ${queue}`, action } })
    } else if (action === undefined) {
      answer(200, { name: queue, ready: this.#ready.length, leased: this.#leased.size, delayed: 0 })
    } else if (action === 'pull') {
      answer(200, { messages: await this.#pull(body.max, body.waitMs, body.leaseMs) })
    } else if (action === 'ack') {
      answer(200, { results: body.receipts.map((receipt: string) => ({ receipt, ok: this.#ack(receipt) })) })
    } else {
      answer(200, { results: body.entries.map(({ receipt }: Entry & { receipt: string }) => this.#drop(receipt)) })
    }
  }

  async #pull(max: number, waitMs: number, leaseMs: number): Promise<unknown[]> {
    const until = performance.now() + waitMs
    while (this.#ready.length === 0 && performance.now() < until) await new Promise((resolve) => setTimeout(resolve, 5))
    return this.#ready.splice(0, max).map((entry) => {
      entry.attempt += 1
      const receipt = `${entry.id}-${Math.random()}`
      this.#leased.set(receipt, entry)
      const leasedUntil = new Date(Date.now() + leaseMs).toISOString()
      return { v: 1, ...entry, queue: 'telemetry', receipt, clientId: 'd', encoding: 'utf8', leasedUntil }
    })
  }

  #ack(receipt: string): boolean {
    if (!this.#leased.delete(receipt)) return false
    this.acked += 1
    return true
  }

  #drop(receipt: string): { receipt: string; ok: boolean } {
    return { receipt, ok: this.#leased.delete(receipt) }
  }
}
