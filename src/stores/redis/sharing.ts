/** What nodes that share the Redis need of the store: lanes that move between them, and each other's changes. */
import type { RedisClient } from '../../base/redis-connection.ts'
import type { Lane, Shared, SharedWatcher, StoredSession } from '../../store.ts'
import type { Changes } from './changes.ts'
import type { Commits } from './commits.ts'
import type { RedisLane } from './lane.ts'
import type { Link } from './link.ts'
import type { Reader } from './reader.ts'
import type { State } from './state.ts'
import type { Tables } from './tables.ts'
import { Wakes } from './wakes.ts'

/** Names of lanes asked about in one step. */
const SLICE = 1000

export interface SharingParts {
  readonly state: State
  readonly link: Link
  readonly commits: Commits
  readonly reader: Reader
  readonly tables: Tables
  readonly changes: Changes
  /** Makes the connection on which notices come. */
  connect(): RedisClient
  readonly answerTimeoutMs: number
}

export class Sharing implements Shared {
  readonly #parts: SharingParts
  #wakes: Wakes | null = null

  constructor(parts: SharingParts) {
    this.#parts = parts
  }

  get newestChange(): string {
    return String(this.#parts.state.newestChange)
  }

  seen(change: string): Promise<void> {
    return this.#parts.changes.seen(change)
  }

  current(): Promise<void> {
    return this.#parts.changes.current()
  }

  session(clientId: string): Promise<StoredSession | null> {
    return this.#parts.tables.session(clientId)
  }

  certain(): Promise<void> {
    return this.#parts.commits.certain()
  }

  close(): void {
    this.#parts.changes.close()
    this.#wakes?.close()
  }

  async join(nodeId: string, incarnation: number, watcher: SharedWatcher): Promise<void> {
    const state = this.#parts.state
    const first = state.watcher === null
    state.node = nodeId
    state.incarnation = String(incarnation)
    state.watcher = watcher
    this.#parts.commits.joined()
    if (first) for (const lane of state.lanes.values()) lane.kept = false
    if (this.#wakes === null) {
      this.#wakes = new Wakes(
        this.#parts.connect(),
        state,
        {
          appended: (name) => this.#appended(name),
          taken: (name) => this.#taken(name),
          changed: () => this.#parts.changes.read(),
          missed: () => this.#missed(),
        },
        this.#parts.answerTimeoutMs,
      )
      await this.#wakes.open()
    }
    await this.#parts.changes.begin(watcher)
    await this.#parts.tables.loadMeta()
  }

  #appended(name: string): void {
    const lane = this.#parts.state.lanes.get(name)
    if (lane?.kept === true) this.#parts.reader.catchUp(lane)
  }

  #taken(name: string): void {
    const lane = this.#parts.state.lanes.get(name)
    if (lane !== undefined) this.#parts.commits.lost(lane)
  }

  #missed(): void {
    this.#parts.changes.read()
    this.#parts.reader.compare().catch(() => {})
  }

  async keep(handle: Lane): Promise<void> {
    const lane = handle as RedisLane
    // Nobody else has given it an entry: what this node appends is heard without waiting for the answer.
    if (lane.last === 0) lane.kept = true
    const { keys, writer, node, incarnation } = this.#parts.state
    const { link } = this.#parts
    const facts = [keys.prefix, lane.name, writer, node, incarnation]
    let place = 0
    const reply = (await link.ask(() =>
      link.once('keep', keys.keepers, facts, (arrived) => {
        place = arrived
      }),
    )) as [Buffer, number, Buffer]
    const [last, entries, bytes] = reply
    if (lane.dropped) return
    lane.kept = true
    lane.last = Math.max(lane.last, Number(String(last)))
    lane.told = Math.max(lane.told, Number(String(last)))
    // The answer to a group that was sent after this question may have been heard before it.
    lane.count(Number(entries), Number(String(bytes)), place)
  }

  async lanes(prefix: string): Promise<string[]> {
    const { keys, laneNames } = this.#parts.state
    const pattern = `${prefix.replace(/[\\*?[\]]/g, '\\$&')}*`
    const kept = new Set<string>()
    // A lane that is kept and holds nothing is one of the returned, but no lane anybody gave anything.
    for (const [register, names] of [
      [keys.lanes, laneNames],
      [keys.keepers, kept],
    ] as const) {
      let cursor = '0'
      do {
        const from = cursor
        const [next, flat] = await this.#parts.link.ask((client) =>
          client.hscan(register, from, 'MATCH', pattern, 'COUNT', SLICE),
        )
        cursor = next
        for (let i = 0; i < flat.length; i += 2) names.add(flat[i]!)
      } while (cursor !== '0')
    }
    return [...new Set([...laneNames, ...kept])].filter((name) => name.startsWith(prefix))
  }

  measure(handle: Lane): Promise<void> {
    const lane = handle as RedisLane
    if (lane.dropped) return Promise.resolve()
    lane.measuring ??= this.#measure(lane).finally(() => {
      lane.measuring = null
    })
    return lane.measuring
  }

  async #measure(lane: RedisLane): Promise<void> {
    const { link, commits, state, reader } = this.#parts
    if (lane.unanswered.length === 0) {
      const { lanes } = state.keys
      let place = 0
      const arrived = (at: number): void => {
        place = at
      }
      const asked = (): Promise<[{ last: number; entries: number }[], string | null]> =>
        Promise.all([reader.figures([lane.name], arrived), link.ask((client) => client.hget(lanes, lane.name))])
      const { heard } = lane
      const { answer, writes } = await lane.during(asked)
      if (writes.length === 0 && lane.heard === heard) {
        const { last, entries } = answer[0][0]!
        lane.last = Math.max(lane.last, last)
        lane.count(entries, Number(answer[1] ?? 0), place)
        return
      }
    }
    // The answer to what this node writes there tells, too.
    await commits.commit()
  }

  async release(handle: Lane): Promise<void> {
    const lane = handle as RedisLane
    await this.#parts.commits.commit()
    const { keys, writer } = this.#parts.state
    lane.kept = false
    this.#parts.state.letGoOfLane(lane)
    await this.#parts.link.run('release', keys.keepers, lane.name, writer)
  }
}
