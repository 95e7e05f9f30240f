import type { Clock } from '../base/clock.ts'
import { SluiceError } from '../errors.ts'
import type { Events } from './events.ts'

/** Tells when the store stops and starts taking commits. */
export class CommitHealth {
  readonly #events: Events
  readonly #clock: Clock
  #failingSince = 0

  constructor(events: Events, clock: Clock) {
    this.#events = events
    this.#clock = clock
  }

  failed(error: unknown): void {
    if (this.#failingSince === 0) this.#failingSince = this.#clock.monotonic()
    const code = error instanceof SluiceError ? error.code : null
    this.#events.emit('commitFailed', { error: error instanceof Error ? error.message : String(error), code })
  }

  succeeded(): void {
    if (this.#failingSince === 0) return
    const failedForMs = this.#clock.monotonic() - this.#failingSince
    this.#failingSince = 0
    this.#events.emit('commitRecovered', { failedForMs })
  }
}

/** What a store on a disk of its own tells besides. */
export type StoreNews =
  | { readonly type: 'broken'; readonly error: Error }
  | { readonly type: 'damaged'; readonly record: string }
  | { readonly type: 'migrated'; readonly from: number; readonly to: number; readonly keptAs: string }
  | { readonly type: 'compacted'; readonly beforeBytes: number; readonly afterBytes: number }
  | { readonly type: 'not-compacted'; readonly error: Error }
  | { readonly type: 'commit-failed' | 'lane-removed' }

/** Passes it on to those who listen to events. */
export function tellNews(events: Events): (news: StoreNews) => void {
  return (news) => {
    if (news.type === 'broken') events.emit('storeBroken', { error: news.error.message })
    else if (news.type === 'damaged') events.emit('storeDamaged', { record: news.record })
    else if (news.type === 'migrated')
      events.emit('storeMigrated', { from: news.from, to: news.to, keptAs: news.keptAs })
    else if (news.type === 'compacted')
      events.emit('storeCompacted', { beforeBytes: news.beforeBytes, afterBytes: news.afterBytes, error: null })
    else if (news.type === 'not-compacted')
      events.emit('storeCompacted', { beforeBytes: 0, afterBytes: 0, error: news.error.message })
  }
}

/** Ready while commits succeed and there is room for more. */
export function watchHealth(events: Events): () => { ready: true } | { ready: false; reason: string } {
  let failing: string | null = null
  let short: string | null = null
  events.on('storeRoom', ({ reason }) => {
    short = reason
  })
  events.on('commitFailed', ({ error }) => {
    failing = error
  })
  events.on('commitRecovered', () => {
    failing = null
  })
  return () => {
    if (failing !== null) return { ready: false, reason: `the store takes no writes: ${failing}` }
    return short === null ? { ready: true } : { ready: false, reason: `the store takes no more messages: ${short}` }
  }
}

/** What a store elsewhere has to say. */
export type RemoteStoreEvent =
  | { readonly type: 'away' }
  | { readonly type: 'back'; readonly awayMs: number }
  | { readonly type: 'rolled-back'; readonly groups: number }
  | { readonly type: 'taken-back'; readonly entries: number }
  | { readonly type: 'imported'; readonly sessions: number; readonly messages: number; readonly wills: number }
  | { readonly type: 'commit-failed' | 'lane-removed' }

/** Passes it on. Failed commits are told by who waited for them. */
export function tellStoreEvent(events: Events, event: RemoteStoreEvent): void {
  switch (event.type) {
    case 'away':
      return events.emit('storeAway', {})
    case 'back':
      return events.emit('storeBack', { awayMs: event.awayMs })
    case 'rolled-back':
      return events.emit('storeRolledBack', { groups: event.groups })
    case 'taken-back':
      return events.emit('storeTookBack', { entries: event.entries })
    case 'imported':
      return events.emit('storeImported', { sessions: event.sessions, messages: event.messages, wills: event.wills })
    default:
  }
}
