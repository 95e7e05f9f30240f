/**
 * Whether every key in Redis has an owner: a stored session, a queue, a member node, a retained topic, or a named bound. Knows
 * the keys of docs/decisions/0006. To be asked when nothing is under way.
 */
import type { Redis } from 'ioredis'
import { unpackWill } from '../../src/stores/redis/records.ts'

export interface KeyOwners {
  /** Work queues there may be; dead-letter queues and consumer groups of theirs are theirs. */
  queues: readonly string[]
  /** `redis.changesKept`. */
  changesKept?: number
  prefix?: string
}

/** Facts that are about the broker as a whole: a fixed number of them, or one for each configured thing. */
const FIXED_META = /^(scramSecret$|clockShift$|queue\/|rule\/|job\/|jobAt\/|qs\/)/
/** Hashes, sets, strings and streams of which there is one. */
const FIXED = new Set(
  'nodes incarnations joins leader led owners lanes keepers sessions wills meta changes doors door-keeper'.split(' '),
)
/** A stream is trimmed by whole nodes of it. */
const TRIM_SLACK = 200
const NO_EXTRA = 0xffffffff

/** What nobody owns, and what is owned and not as it should be; empty: all is well. */
export async function unownedKeys(redis: Redis, owners: KeyOwners): Promise<string[]> {
  return new KeyCheck(redis, owners).run()
}

/** As `unownedKeys`, but waits for what is being put away. */
export async function unownedKeysAtRest(redis: Redis, owners: KeyOwners, timeoutMs = 20_000): Promise<string[]> {
  const deadline = performance.now() + timeoutMs
  for (;;) {
    const found = await unownedKeys(redis, owners)
    if (found.length === 0 || performance.now() > deadline) return found
    await new Promise((resolve) => setTimeout(resolve, 250))
  }
}

interface StoredSession {
  clientId: string
  lane: string
  disconnectedAt: number
  node?: string
}

class KeyCheck {
  readonly #redis: Redis
  readonly #prefix: string
  readonly #owners: KeyOwners
  readonly #wrong: string[] = []
  #sessions = new Map<string, StoredSession>()
  #nodes = new Set<string>()
  #meta: string[] = []
  /** Lanes in use, by name. */
  #laneOwners = new Set<string>()
  readonly #bodyRefs = new Map<string, number>()

  constructor(redis: Redis, owners: KeyOwners) {
    this.#redis = redis
    this.#owners = owners
    this.#prefix = owners.prefix ?? 'sluicemq:'
  }

  async run(): Promise<string[]> {
    const redis = this.#redis
    const sessions = await redis.hgetall(this.#key('sessions'))
    this.#sessions = new Map(Object.entries(sessions).map(([id, json]) => [id, JSON.parse(json) as StoredSession]))
    this.#nodes = new Set(await redis.hkeys(this.#key('nodes')))
    this.#meta = await redis.hkeys(this.#key('meta'))
    this.#laneOwners = new Set([...this.#sessions.values()].map(({ lane }) => lane))
    for (const name of this.#meta) if (name.startsWith('drain/')) this.#laneOwners.add(name.slice(6))
    const keys = await this.#allKeys()
    for (const key of keys) if (this.#isLane(key)) await this.#lane(key)
    for (const key of keys) if (!this.#isLane(key)) await this.#one(key)
    await this.#fields()
    for (const [body, refs] of this.#bodyRefs) this.#wrong.push(`body ${body} is gone, and ${refs} entries refer to it`)
    return this.#wrong
  }

  #key(name: string): string {
    return this.#prefix + name
  }

  async #allKeys(): Promise<string[]> {
    const keys = new Set<string>()
    let cursor = '0'
    do {
      const [next, some] = await this.#redis.scan(cursor, 'COUNT', 1000)
      cursor = next
      for (const key of some) keys.add(key)
    } while (cursor !== '0')
    return [...keys].sort()
  }

  #isLane(key: string): boolean {
    return key.startsWith(this.#key('lane:')) || key.startsWith(this.#key('queue:'))
  }

  #laneNameOf(key: string): string {
    return key.startsWith(this.#key('queue:'))
      ? `q/${key.slice(this.#key('queue:').length)}`
      : key.slice(this.#key('lane:').length)
  }

  #ownsLane(name: string): boolean {
    const queue = /^q\d*\/(.*)$/s.exec(name)?.[1]
    if (queue !== undefined) return this.#ownsQueue(queue)
    if (name.startsWith('n/')) return this.#nodes.has(name.slice(2))
    if (name.startsWith('s/')) return this.#laneOwners.has(name)
    // What queues keep beside themselves: the inbox, keys of deduplication, schedules, what was kept for replay.
    return name === 'qi' || /^q[a-z]+\//.test(name)
  }

  #ownsQueue(name: string): boolean {
    return this.#owners.queues.some(
      (queue) => name === queue || name.startsWith(`${queue}.`) || name.startsWith(`${queue}@`),
    )
  }

  /** The lane's owner, its marks, and the bodies its entries refer to. */
  async #lane(key: string): Promise<void> {
    const name = this.#laneNameOf(key)
    if (!this.#ownsLane(name)) this.#wrong.push(`lane ${name} is nobody's`)
    const seqs = new Set<string>()
    for (let from = '-'; ; ) {
      const entries = await this.#redis.xrangeBuffer(key, from, '+', 'COUNT', 1000)
      for (const [id, fields] of entries) {
        seqs.add(String(id).split('-')[1]!)
        this.#count(fields)
      }
      if (entries.length < 1000) break
      from = `(${String(entries.at(-1)![0])}`
    }
    for (const seq of await this.#redis.hkeys(this.#key(`marks:${name}`)))
      if (!seqs.has(seq)) this.#wrong.push(`mark ${seq} of lane ${name} is of no entry`)
  }

  #count(fields: Buffer[]): void {
    const value = fields[1]!
    if (value[0] !== 1) return
    const extra = value.readUInt32BE(5)
    const body = value.toString('latin1', 9 + (extra === NO_EXTRA ? 0 : extra) + 4)
    this.#bodyRefs.set(body, (this.#bodyRefs.get(body) ?? 0) + 1)
  }

  async #one(key: string): Promise<void> {
    const redis = this.#redis
    if (key === 'retained' || key === 'clients') return
    if (key.startsWith('client:')) {
      const clientId = decodeURIComponent(key.slice(7))
      if (!this.#sessions.has(clientId)) this.#wrong.push(`subscriptions of ${clientId}, who has no session`)
      return
    }
    const [, kind = '', rest = ''] = /^([a-z-]+):?(.*)$/s.exec(key.slice(this.#prefix.length)) ?? []
    if (!key.startsWith(this.#prefix)) this.#wrong.push(`key ${key} is not ours`)
    else if (kind === 'marks') {
      const lane = rest.startsWith('q/') ? this.#key(`queue:${rest.slice(2)}`) : this.#key(`lane:${rest}`)
      if ((await redis.exists(lane)) === 0) this.#wrong.push(`marks of lane ${rest}, which is gone`)
    } else if (kind === 'body') {
      const refs = this.#bodyRefs.get(rest) ?? 0
      this.#bodyRefs.delete(rest)
      const counted = Number(await redis.hget(key, 'n'))
      if (counted !== refs) this.#wrong.push(`body ${rest} counts ${counted} entries and ${refs} refer to it`)
    } else if (kind === 'writer') {
      // Of a process that has died: it stays for a day after its last group.
      if ((await redis.pttl(key)) < 0) this.#wrong.push(`writer ${rest} stays for ever`)
    } else if (kind === 'inbound') {
      if (!this.#sessions.has(rest)) this.#wrong.push(`Packet Identifiers of ${rest}, who has no session`)
    } else if (kind === 'alive') {
      if ((await redis.pttl(key)) < 0) this.#wrong.push(`the heartbeat of ${rest} stays for ever`)
    } else if (kind === 'passed') {
      if (!this.#nodes.has(rest)) this.#wrong.push(`what was taken from ${rest}, which is gone`)
    } else if (kind === 'work' || kind === 'answers') {
      if (!this.#ownsQueue(rest)) this.#wrong.push(`${kind} of queue ${rest}, which is not there`)
    } else if (kind === 'doomed') {
      this.#wrong.push(`${key} of a dropped lane is not removed`)
    } else if (!FIXED.has(kind) || rest !== '') this.#wrong.push(`nobody knows key ${key}`)
  }

  /** What is in the hashes of which there is one. */
  async #fields(): Promise<void> {
    const redis = this.#redis
    const wrong = (what: string): number => this.#wrong.push(what)
    for (const { clientId, disconnectedAt, node } of this.#sessions.values())
      if (disconnectedAt === 0 && (node === undefined || !this.#nodes.has(node)))
        wrong(`${clientId} is said to be connected to ${node}, which is gone`)
    for (const node of await redis.hkeys(this.#key('incarnations')))
      if (!this.#nodes.has(node)) wrong(`the incarnation of ${node}, which is gone`)
    for (const [clientId, owner] of Object.entries(await redis.hgetall(this.#key('owners'))))
      if (!this.#nodes.has(owner.slice(0, owner.lastIndexOf(' '))))
        wrong(`${clientId} is served by ${owner}, which is gone`)
    for (const name of await redis.hkeys(this.#key('lanes')))
      if (!this.#ownsLane(name)) wrong(`lane ${name} is registered and nobody's`)
    for (const name of await redis.hkeys(this.#key('keepers')))
      if (!this.#ownsLane(name)) wrong(`lane ${name} is kept and nobody's`)
    for (const name of this.#meta) {
      const node = /^interest\/([^/]+)\//.exec(name)?.[1]
      const known = node === undefined ? FIXED_META.test(name) || name.startsWith('drain/') : this.#nodes.has(node)
      if (!known) wrong(`the fact ${name} is nobody's`)
    }
    for (const clientId of await redis.smembers('clients'))
      if (!this.#sessions.has(clientId)) wrong(`${clientId} is among the clients and has no session`)
    for (const [clientId, packed] of Object.entries(await redis.hgetallBuffer(this.#key('wills')))) {
      const { node, dueAt } = unpackWill(packed)
      if (dueAt === 0 && !this.#nodes.has(node)) wrong(`the will of ${clientId}, whose node ${node} is gone`)
    }
    const changes = await redis.xlen(this.#key('changes'))
    if (changes > (this.#owners.changesKept ?? 100_000) + TRIM_SLACK) wrong(`${changes} changes are kept`)
  }
}
