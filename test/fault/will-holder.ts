/**
 * A client with a will, a new one for each connection. It leaves in every way there is; the ledger is told which of its wills
 * have to be published, and which must not.
 */
import { RawClient, type Target } from '../support/raw-client.ts'
import type { Version } from '../support/raw-packets.ts'
import type { SeededRandom } from '../support/seeded-random.ts'
import type { Ledger, SentMessage } from './ledger.ts'

export interface WillHolderOptions {
  clientId: string
  version: Version
  target: () => Target
  ledger: Ledger
  random: SeededRandom
  /** Kills of the broker so far. */
  kills: () => number
}

/** DISCONNECT has no answer: for so long the broker may not have it on disk, in ms. */
const UNCONFIRMED_MS = 1_000

interface Withdrawn {
  message: SentMessage
  at: number
  kills: number
}

export class WillHolder {
  private readonly options: WillHolderOptions
  private running = true
  private seq = 0
  private done: Promise<void> = Promise.resolve()
  private client: RawClient | null = null
  /** The last will, whose delay may still run. */
  private delayed: SentMessage | null = null
  private readonly withdrawn: Withdrawn[] = []

  constructor(options: WillHolderOptions) {
    this.options = options
  }

  start(): void {
    this.done = this.live()
  }

  async close(): Promise<void> {
    this.running = false
    this.client?.reset()
    await this.done
    // Nobody came back before the delay was over.
    if (this.delayed !== null) this.options.ledger.acknowledged(this.delayed)
    this.delayed = null
    const { kills, ledger } = this.options
    for (const { message, at, kills: before } of this.withdrawn)
      if (kills() === before && performance.now() - at > UNCONFIRMED_MS) ledger.withdrawn(message)
  }

  private async live(): Promise<void> {
    while (this.running) {
      try {
        await this.hold()
      } catch {
        // The broker is down or died under us.
      }
      await sleep(this.options.random.int(5, 80))
    }
  }

  private async hold(): Promise<void> {
    const { clientId, version, target, ledger, random, kills } = this.options
    const client = await RawClient.open(target())
    this.client = client
    const delaySeconds = version === 5 && random.chance(0.3) ? 1 : 0
    const topic = `fault/will/${clientId}`
    const message = ledger.sent(topic, ++this.seq, 2, true)
    // Back before the delay was over, or not: both may be.
    this.delayed = null
    const five = version === 5
    const will = {
      topic,
      payload: String(this.seq),
      qos: 2,
      ...(five && delaySeconds > 0 ? { properties: { willDelayInterval: delaySeconds } } : {}),
    }
    const properties = five ? { properties: { sessionExpiryInterval: 3600 } } : {}
    const connack = await client.connect({ clientId, clean: false, version, will, ...properties })
    if (connack.code !== 0) throw new Error(`refused: ${connack.code}`)
    ledger.note(message, 'armed')
    if (!this.running) client.reset()
    const killsBefore = kills()
    await Promise.race([client.closed, sleep(random.int(20, 400))])
    if (!client.isClosed && random.chance(0.3)) {
      ledger.note(message, 'says DISCONNECT')
      await client.disconnect()
      if (kills() === killsBefore) this.withdrawn.push({ message, at: performance.now(), kills: killsBefore })
      return
    }
    // A reset, or the broker's end.
    if (!client.isClosed) client.reset()
    await client.closed
    ledger.note(message, `lost its connection, delay ${delaySeconds}`)
    if (delaySeconds === 0) ledger.acknowledged(message)
    else this.delayed = message
  }

  /** The broker was killed: what was withdrawn just before may have been forgotten. */
  killed(): void {
    const before = performance.now() - UNCONFIRMED_MS
    for (const entry of this.withdrawn) if (entry.at < before) this.options.ledger.withdrawn(entry.message)
    this.withdrawn.length = 0
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
