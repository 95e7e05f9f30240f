/**
 * The tail of the stream of changes. Notices only say that there is something to read; what is read comes from the stream, so
 * every change is seen once, in order, or it is known that some were missed.
 */
import type { Change, SessionRecord, SharedWatcher } from '../../store.ts'
import type { Link } from './link.ts'
import { unpackSubscription, unpackWill } from './records.ts'
import type { State } from './state.ts'
import type { Tables } from './tables.ts'

const SLICE = 500
/** Pause before Redis, which did not answer, is asked again, in ms. */
const AGAIN_MS = 500

/** One line of the stream. */
interface Line {
  readonly id: number
  readonly is: string
  readonly key: string
  /** The Topic Filter of a subscription. */
  readonly of: string
}

export class Changes {
  readonly #state: State
  readonly #link: Link
  readonly #tables: Tables
  readonly #waiting: { id: number; resolve: () => void }[] = []
  #seen = 0
  #reading = false
  #again = false
  #watcher: SharedWatcher | null = null

  constructor(state: State, link: Link, tables: Tables) {
    this.#state = state
    this.#link = link
    this.#tables = tables
  }

  /** From here on the watcher hears of changes. */
  async begin(watcher: SharedWatcher): Promise<void> {
    this.#seen = await this.#newest()
    this.#watcher = watcher
  }

  async current(): Promise<void> {
    await this.seen(String(await this.#newest()))
  }

  async #newest(): Promise<number> {
    const last = await this.#link.ask((client) => client.xrevrange(this.#state.keys.changes, '+', '-', 'COUNT', 1))
    return last.length === 0 ? 0 : idOf(last[0]![0])
  }

  seen(change: string): Promise<void> {
    const id = Number(change)
    if (id <= this.#seen) return Promise.resolve()
    this.read()
    return new Promise((resolve) => this.#waiting.push({ id, resolve }))
  }

  close(): void {
    this.#watcher = null
  }

  /** There may be something new. */
  read(): void {
    if (this.#watcher === null) return
    if (this.#reading) {
      this.#again = true
      return
    }
    this.#reading = true
    this.#readAll().then(
      () => this.#done(),
      () => {
        this.#reading = false
        // Redis is away. The connection that brings notices may have stood: nobody else would ask again.
        this.#state.clock.after(AGAIN_MS, () => this.read())
      },
    )
  }

  #done(): void {
    this.#reading = false
    if (!this.#again) return
    this.#again = false
    this.read()
  }

  async #readAll(): Promise<void> {
    for (;;) {
      const from = `(0-${this.#seen}`
      const found = await this.#link.ask((client) =>
        client.xrangeBuffer(this.#state.keys.changes, from, '+', 'COUNT', SLICE),
      )
      if (found.length === 0) return
      const lines = found.map(([id, fields]) => lineOf(id.toString(), fields))
      // Own ones that are not known are of a commit that was given up and applied: as if others had made them.
      const values = await this.#values(lines.filter(({ id }) => !this.#state.ownChanges.has(id)))
      const watcher = this.#watcher
      if (watcher === null) return
      if (lines[0]!.id !== this.#seen + 1) watcher.missed()
      for (const line of lines) {
        this.#seen = line.id
        watcher.changed(this.#own(line) ?? this.#change(line, values))
      }
      this.#wake()
    }
  }

  #wake(): void {
    for (let i = this.#waiting.length - 1; i >= 0; i--)
      if (this.#waiting[i]!.id <= this.#seen) this.#waiting.splice(i, 1)[0]!.resolve()
  }

  #own(line: Line): Change | null {
    const change = this.#state.ownChanges.get(line.id) ?? null
    this.#state.ownChanges.delete(line.id)
    return change
  }

  /** What the lines of others are about, as it is now: one command for each hash. */
  async #values(lines: readonly Line[]): Promise<Map<string, Buffer | null>> {
    const wanted = new Map<string, Set<string>>()
    for (const line of lines) {
      const fields = wanted.get(this.#hash(line)) ?? new Set()
      fields.add(fieldOf(line))
      wanted.set(this.#hash(line), fields)
    }
    const values = new Map<string, Buffer | null>()
    await Promise.all(
      [...wanted].map(async ([hash, fields]) => {
        const names = [...fields]
        const found = await this.#link.ask((client) => client.hmgetBuffer(hash, ...names))
        for (const [i, name] of names.entries()) values.set(`${hash}\u0000${name}`, found[i] ?? null)
      }),
    )
    return values
  }

  #hash({ is, key }: Line): string {
    const { keys } = this.#state
    switch (is) {
      case 'session':
        return keys.sessions
      case 'subscription':
        return keys.client(key)
      case 'retained':
        return keys.retained
      case 'will':
        return keys.wills
      default:
        return keys.meta
    }
  }

  #change(line: Line, values: ReadonlyMap<string, Buffer | null>): Change {
    const { is, key } = line
    const own = false
    const value = values.get(`${this.#hash(line)}\u0000${fieldOf(line)}`) ?? null
    switch (is) {
      case 'session':
        if (value === null) return { is: 'sessionDeleted', own, clientId: key }
        return { is, own, record: JSON.parse(value.toString()) as SessionRecord }
      case 'subscription':
        if (value === null) return { is: 'subscriptionDeleted', own, clientId: key, topicFilter: line.of }
        return { is, own, clientId: key, record: unpackSubscription(line.of, value) }
      case 'retained':
        return { is, own, topic: key, message: value === null ? null : this.#tables.unpackRetained(key, value) }
      case 'will':
        return value === null ? { is: 'willDeleted', own, clientId: key } : { is, own, record: unpackWill(value) }
      default: {
        const meta: unknown = value === null ? undefined : JSON.parse(value.toString())
        if (meta === undefined) this.#state.meta.delete(key)
        else this.#state.meta.set(key, meta)
        return { is: 'meta', own, key, value: meta }
      }
    }
  }
}

const fieldOf = ({ is, key, of }: Line): string => (is === 'subscription' ? of : key)

const idOf = (id: string): number => Number(id.slice(id.indexOf('-') + 1))

function lineOf(id: string, fields: readonly Buffer[]): Line {
  const of = new Map<string, string>()
  for (let i = 0; i < fields.length; i += 2) of.set(fields[i]!.toString(), fields[i + 1]!.toString())
  return { id: idOf(id), is: of.get('is')!, key: of.get('key')!, of: of.get('of')! }
}
