/** The second connection: notices that a kept lane got entries, that another process took one, that records changed. */
import type { RedisClient } from '../../base/redis-connection.ts'
import { keepPulse } from '../../base/redis-pulse.ts'
import type { State } from './state.ts'

export interface WakeListener {
  /** Another process appended to a lane kept here. */
  appended(lane: string): void
  /** Another process keeps the lane now. */
  taken(lane: string): void
  changed(): void
  /** Notices may have been missed. */
  missed(): void
}

export class Wakes {
  readonly #client: RedisClient
  readonly #state: State
  readonly #listener: WakeListener
  readonly #stopPulse: () => void
  #subscribed = false

  /** @param answerTimeoutMs a connection that is silent for this long when it is asked is made anew */
  constructor(client: RedisClient, state: State, listener: WakeListener, answerTimeoutMs: number) {
    this.#stopPulse = keepPulse(client, state.clock, answerTimeoutMs)
    this.#state = state
    this.#listener = listener
    this.#client = client
    this.#client.on('error', () => {})
    this.#client.on('messageBuffer', (channel: Buffer, message: Buffer) => this.#hear(channel.toString(), message))
  }

  /** Resolves when notices are heard. */
  async open(): Promise<void> {
    const client = this.#client
    if (client.status !== 'ready') await new Promise<void>((resolve) => client.once('ready', () => resolve()))
    await this.#subscribe()
    client.on('ready', () => {
      // What was published meanwhile is gone: look, once new notices are heard.
      this.#subscribe().then(
        () => this.#listener.missed(),
        () => {},
      )
    })
  }

  close(): void {
    this.#stopPulse()
    this.#client.disconnect()
  }

  async #subscribe(): Promise<void> {
    const { keys, writer } = this.#state
    await this.#client.subscribe(keys.changed, keys.wake(writer))
    this.#subscribed = true
  }

  get subscribed(): boolean {
    return this.#subscribed
  }

  #hear(channel: string, message: Buffer): void {
    if (channel === this.#state.keys.changed) {
      this.#listener.changed()
      return
    }
    let at = 1
    while (at < message.length) {
      const end = at + 4 + message.readUInt32BE(at)
      const lane = message.toString('utf8', at + 4, end)
      at = end
      if (message[0] === 0x77) this.#listener.appended(lane)
      else this.#listener.taken(lane)
    }
  }
}
