/**
 * Whether Redis' memory is flat: two real nodes, persistent subscribers of QoS 1 and 2 whose subscriptions overlap, a shared
 * subscription, clients whose sessions end, retained messages that change, a queue with a deduplication window whose worker
 * acknowledges; half of the subscribers keep moving to the other node, and a node is killed now and then. What is compared was
 * measured with nothing under way, after a tenth of the messages and after all of them.
 */
import { BrokerProcess } from '../support/broker-process.ts'
import { RawClient } from '../support/raw-client.ts'
import { encodeRawAck, encodeRawPublish } from '../support/raw-packets.ts'
import { unownedKeysAtRest } from '../support/redis-keys.ts'
import { RedisProcess } from '../support/redis-process.ts'
import { SeededRandom } from '../support/seeded-random.ts'

export interface RedisMemoryOptions {
  seed: number
  /** PUBLISH packets of all publishers together. */
  messages: number
  /** How often a node is killed. */
  kills: number
  report?: (line: string) => void
}

interface Measured {
  usedBytes: number
  keys: number
}

export interface RedisMemoryResult {
  published: number
  delivered: number
  worked: number
  moves: number
  kills: number
  before: Measured
  after: Measured
  unowned: string[]
  seconds: number
}

const CHANGES_KEPT = 1000
const DEDUPLICATION_MS = 1000
const QUEUE = 'memory'
const PUBLISHERS = 4
const WINDOW = 64
/** Longest time without anything moving, in ms. */
const STALLED_MS = 30_000

/** Memory may grow by this much between the two measurements: buffers of connections, the allocator's bookkeeping. */
export const GROWTH_BYTES_MAX = 1024 * 1024

export async function runRedisMemory(options: RedisMemoryOptions): Promise<RedisMemoryResult> {
  const redis = await RedisProcess.start({ appendfsync: 'no' })
  const brokers: BrokerProcess[] = []
  try {
    const config = {
      log: { level: 'error', format: 'json' },
      redisUrl: redis.url,
      redis: { changesKept: CHANGES_KEPT },
      nodes: { timeoutMs: 5000 },
      bridge: [{ topicFilter: 'work/#', queue: QUEUE, deduplicate: '{payload:/id}' }],
      queues: { [QUEUE]: { deduplication: { windowMs: DEDUPLICATION_MS } } },
    }
    for (let i = 0; i < 2; i++) brokers.push(await BrokerProcess.start({ config, store: 'redis', supervised: true }))
    return await new RedisMemoryRun(options, redis, brokers).run()
  } finally {
    await Promise.all(brokers.map((broker) => broker.stop()))
    await redis.stop()
  }
}

/** Keeps a connection to some node, as the same client. */
abstract class Member {
  protected client: RawClient | null = null
  protected readonly clientId: string
  readonly #target: () => BrokerProcess
  #over = false
  #done: Promise<void> = Promise.resolve()

  constructor(clientId: string, target: () => BrokerProcess) {
    this.clientId = clientId
    this.#target = target
  }

  protected abstract readonly clean: boolean
  protected abstract connected(client: RawClient): Promise<void>

  start(): void {
    this.#done = this.#live()
  }

  /** Comes back on whatever node there is. */
  move(): void {
    this.client?.reset()
  }

  async stop(): Promise<void> {
    this.#over = true
    this.client?.reset()
    await this.#done
  }

  async #live(): Promise<void> {
    while (!this.#over) {
      try {
        const client = await RawClient.open(this.#target().mqtt)
        this.prepare(client)
        const { code } = await client.connect({ clientId: this.clientId, clean: this.clean })
        if (code === 0 && !this.#over) {
          await this.connected(client)
          this.client = client
          await client.closed
        } else client.reset()
      } catch {
        // The node was killed, or is.
      }
      this.client = null
      await sleep(20)
    }
  }

  protected abstract prepare(client: RawClient): void
}

class Reader extends Member {
  received = 0
  ready = false
  protected readonly clean: boolean
  readonly #filters: [string, number][]

  constructor(clientId: string, target: () => BrokerProcess, clean: boolean, filters: [string, number][]) {
    super(clientId, target)
    this.clean = clean
    this.#filters = filters
  }

  protected prepare(client: RawClient): void {
    client.onPacket = (packet) => {
      if (packet.type === 'publish') {
        this.received++
        if (packet.qos > 0) client.send(encodeRawAck(packet.qos === 1 ? 'puback' : 'pubrec', packet.packetId))
        return true
      }
      if (packet.type !== 'pubrel') return false
      client.send(encodeRawAck('pubcomp', packet.packetId))
      return true
    }
  }

  protected async connected(client: RawClient): Promise<void> {
    if (this.ready && !this.clean) return
    await client.subscribe(...this.#filters)
    this.ready = true
  }
}

class Writer extends Member {
  acknowledged = 0
  protected readonly clean = false
  readonly #random: SeededRandom
  readonly #take: () => number | null
  readonly #flows = new Map<number, { bytes: (dup: boolean) => Buffer; released: boolean }>()
  #packetId = 0

  /** @param take the number of the next message to be sent; null: not now */
  constructor(clientId: string, target: () => BrokerProcess, random: SeededRandom, take: () => number | null) {
    super(clientId, target)
    this.#random = random
    this.#take = take
  }

  get underWay(): number {
    return this.#flows.size
  }

  protected prepare(client: RawClient): void {
    client.onPacket = (packet) => {
      if (packet.type !== 'puback' && packet.type !== 'pubrec' && packet.type !== 'pubcomp') return false
      const flow = this.#flows.get(packet.packetId)
      if (packet.type === 'pubrec') {
        if (flow !== undefined) flow.released = true
        client.send(encodeRawAck('pubrel', packet.packetId))
      } else if (this.#flows.delete(packet.packetId)) {
        this.acknowledged++
        this.fill(client)
      }
      return true
    }
  }

  protected async connected(client: RawClient): Promise<void> {
    for (const [packetId, { bytes, released }] of this.#flows)
      client.send(released ? encodeRawAck('pubrel', packetId) : bytes(true))
    this.fill(client)
  }

  /** Sends as much as may be under way. */
  fill(client = this.client): void {
    if (client === null || client.isClosed) return
    const frames: Buffer[] = []
    while (this.#flows.size < WINDOW) {
      const n = this.#take()
      if (n === null) break
      do this.#packetId = (this.#packetId % 65535) + 1
      while (this.#flows.has(this.#packetId))
      const packetId = this.#packetId
      const qos = n % 2 === 0 ? 1 : 2
      const kind = n % 10
      const topic = kind < 7 ? `mem/a/${this.clientId}` : kind < 9 ? `work/${this.clientId}` : `state/${n % 97}`
      const padding = '.'.repeat(this.#random.chance(0.3) ? this.#random.int(200, 900) : this.#random.int(0, 100))
      const payload = JSON.stringify({ id: n, padding })
      const retain = kind === 9
      const bytes = (dup: boolean): Buffer => encodeRawPublish({ topic, payload, qos, retain, packetId, dup }, 4)
      this.#flows.set(packetId, { bytes, released: false })
      frames.push(bytes(false))
    }
    if (frames.length > 0) client.send(...frames)
  }
}

class RedisMemoryRun {
  readonly #options: RedisMemoryOptions
  readonly #redis: RedisProcess
  readonly #brokers: BrokerProcess[]
  readonly #random: SeededRandom
  readonly #readers: Reader[]
  readonly #writers: Writer[]
  #sent = 0
  #upTo = 0
  #worked = 0
  #moves = 0
  #kills = 0
  #over = false

  constructor(options: RedisMemoryOptions, redis: RedisProcess, brokers: BrokerProcess[]) {
    this.#options = options
    this.#redis = redis
    this.#brokers = brokers
    this.#random = new SeededRandom(options.seed)
    const target = (): BrokerProcess => this.#any()
    const reader = (clientId: string, clean: boolean, ...filters: [string, number][]): Reader =>
      new Reader(clientId, target, clean, filters)
    this.#readers = [
      reader('once', false, ['mem/#', 2], ['mem/+/+', 2]),
      reader('often', false, ['mem/a/#', 1], ['mem/#', 1], ['state/+', 1]),
      reader('member-0', false, ['$share/g/mem/#', 2]),
      reader('member-1', false, ['$share/g/mem/#', 1]),
      reader('passing', true, ['mem/+/writer-0', 1], ['$share/p/mem/#', 1]),
    ]
    this.#writers = Array.from({ length: PUBLISHERS }, (_, i) => {
      const take = (): number | null => (this.#sent < this.#upTo ? this.#sent++ : null)
      return new Writer(`writer-${i}`, target, this.#random.fork(`writer-${i}`), take)
    })
  }

  #any(): BrokerProcess {
    const running = this.#brokers.filter((broker) => broker.running)
    return this.#random.pick(running.length > 0 ? running : this.#brokers)
  }

  async run(): Promise<RedisMemoryResult> {
    const { messages, kills, report = () => {} } = this.#options
    const startedAt = performance.now()
    for (const reader of this.#readers) reader.start()
    await this.#until(() => this.#readers.every(({ ready }) => ready))
    for (const writer of this.#writers) writer.start()
    const background = Promise.all([this.#work(), this.#disturb()])
    await this.#send(Math.floor(messages / 10))
    const before = await this.#measure()
    report(`after ${this.#sent}: ${JSON.stringify(before)}`)
    for (let part = 1; part <= kills + 1; part++) {
      const more = Math.floor(messages / 10 + (messages * 0.9 * part) / (kills + 1))
      await this.#send(part === kills + 1 ? messages : more, part <= kills)
    }
    const unowned = await unownedKeysAtRest(this.#redis.admin, { queues: [QUEUE], changesKept: CHANGES_KEPT }, 20_000)
    const after = await this.#measure()
    report(`after ${this.#sent}: ${JSON.stringify(after)}`)
    this.#over = true
    await background
    await Promise.all([...this.#readers, ...this.#writers].map((member) => member.stop()))
    return {
      published: this.#writers.reduce((sum, { acknowledged }) => sum + acknowledged, 0),
      delivered: this.#readers.reduce((sum, { received }) => sum + received, 0),
      worked: this.#worked,
      moves: this.#moves,
      kills: this.#kills,
      before,
      after,
      unowned,
      seconds: Math.round((performance.now() - startedAt) / 1000),
    }
  }

  /** Sends up to that many and waits until nothing is under way; with `kill` a node dies and comes back meanwhile. */
  async #send(upTo: number, kill = false): Promise<void> {
    const from = this.#sent
    this.#upTo = upTo
    for (const writer of this.#writers) writer.fill()
    if (kill) {
      await this.#until(() => this.#sent >= from + (upTo - from) / 2)
      const victim = this.#random.pick(this.#brokers)
      this.#kills++
      await victim.kill('SIGKILL')
      await sleep(200)
      await victim.start()
    }
    await this.#until(() => this.#sent >= upTo && this.#writers.every(({ underWay }) => underWay === 0))
    const waiting = async (): Promise<number> => {
      let entries = 0
      for (const name of await this.#redis.admin.hkeys('sluicemq:lanes'))
        if (!name.startsWith('qd')) entries += await this.#redis.admin.xlen(laneKey(name))
      return entries
    }
    const startedAt = performance.now()
    // Keys of the deduplication window stay for as long as it is.
    await sleep(DEDUPLICATION_MS * 2)
    for (let last = -1, left = await waiting(), movedAt = startedAt; left > 0; left = await waiting()) {
      if (left !== last) movedAt = performance.now()
      if (performance.now() - movedAt > STALLED_MS) break
      last = left
      await sleep(100)
    }
  }

  /** A worker over HTTP. */
  async #work(): Promise<void> {
    while (!this.#over) {
      try {
        const queue = `${this.#any().http}/api/v1/queues/${QUEUE}`
        const pulled = await post(`${queue}/pull`, { max: 200, waitMs: 200 })
        const receipts = (pulled['messages'] as { receipt: string }[]).map(({ receipt }) => receipt)
        if (receipts.length === 0) continue
        const { results } = (await post(`${queue}/ack`, { receipts })) as { results: { ok: boolean }[] }
        this.#worked += results.filter(({ ok }) => ok).length
      } catch {
        await sleep(50)
      }
    }
  }

  async #disturb(): Promise<void> {
    while (!this.#over) {
      await sleep(this.#random.int(100, 400))
      if (this.#sent >= this.#upTo) continue
      const [some] = [this.#random.pick([...this.#readers.slice(0, 3), this.#writers[0]!])]
      some!.move()
      this.#moves++
    }
  }

  async #measure(): Promise<Measured> {
    const { admin } = this.#redis
    await admin.call('MEMORY', 'PURGE')
    const info = await admin.info('memory')
    return { usedBytes: Number(/used_memory:(\d+)/.exec(info)![1]), keys: await admin.dbsize() }
  }

  async #until(condition: () => boolean): Promise<void> {
    const progress = (): number => this.#readers.reduce((sum, { received }) => sum + received, this.#sent)
    let movedAt = performance.now()
    for (let last = -1; !condition(); await sleep(20)) {
      const now = progress()
      if (now !== last) movedAt = performance.now()
      if (performance.now() - movedAt > STALLED_MS) {
        throw new Error(
          `nothing moves: ${this.#sent} of ${this.#upTo} sent; ${this.#brokers.map((b) => b.stderr).join()}`,
        )
      }
      last = now
    }
  }
}

function laneKey(name: string): string {
  return name.startsWith('q/') ? `sluicemq:queue:${name.slice(2)}` : `sluicemq:lane:${name}`
}

async function post(url: string, body: object): Promise<Record<string, unknown>> {
  const headers = { 'content-type': 'application/json' }
  const answer = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) })
  if (!answer.ok) throw new Error(`${url}: ${answer.status}`)
  return (await answer.json()) as Record<string, unknown>
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
