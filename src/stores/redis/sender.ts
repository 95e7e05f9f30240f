/**
 * The writer's side of the script `group`: gives groups their numbers, and finds out after a lost connection which were
 * applied. Numbers follow each other; each connection has a number too, and Redis refuses groups of an older one, so that what
 * is still on its way somewhere cannot be applied behind our back.
 */
import { SluiceError } from '../../errors.ts'
import { type GroupAnswer, parseAnswer } from './answers.ts'
import type { Group } from './group.ts'
import { GroupEncoder } from './group-bytes.ts'
import { type Link, type Reply, refusal } from './link.ts'
import type { MessageCodec } from './message-codec.ts'
import type { State } from './state.ts'

/** Pause before Redis, which said why it cannot tell of copies, is asked again, in ms. */
const COPIES_AGAIN_MS = 100

export interface SenderOptions {
  /** Replicas that must have a group, and how: see decision 6. */
  readonly replicas: { readonly count: number; readonly aof: boolean }
  /** Changes kept for nodes that fall behind. */
  readonly changesKept: number
}

export class Sender {
  readonly #state: State
  readonly #link: Link
  readonly #options: SenderOptions
  readonly #encoder: GroupEncoder
  /** Number of the last group known to be applied, and of the last one sent. */
  #applied = 0
  #sent = 0
  /** Number of the connection, as Redis knows it. */
  #connection = 0
  /** Raised when answers of what was sent are no longer to be believed. */
  #generation = 0

  constructor(state: State, link: Link, options: SenderOptions, codec: MessageCodec | null) {
    this.#state = state
    this.#link = link
    this.#options = options
    this.#encoder = new GroupEncoder(codec)
  }

  /** It is not known any more what was applied of what was sent. */
  forget(): number {
    this.#state.synced = false
    return ++this.#generation
  }

  /** It is known which group was applied last: groups may be sent. */
  get synced(): boolean {
    return this.#state.synced
  }

  /** True unless something was forgotten, or begun anew, since. */
  current(generation: number): boolean {
    return generation === this.#generation
  }

  /** Client Identifiers that other nodes took from this one without its letting go. */
  async passedOver(): Promise<ReadonlySet<string>> {
    const { keys, node } = this.#state
    return new Set(node === '' ? [] : await this.#link.client.smembers(keys.passed(node)))
  }

  /**
   * Nothing of what was sent and not answered counts: numbers go on after the last known. While that is being found out they do so anyway,
   * and the question under way must not be given up: nobody would ask again.
   */
  restart(): void {
    if (!this.#state.synced) return
    this.#sent = this.#applied
    this.#generation++
  }

  /**
   * Finds out which group was applied last.
   * @param before what else has to be known before groups are sent again
   * @returns for a group that was sent: the answer that got lost, or null when it was not applied; null when this was overtaken
   */
  async synchronise(before: () => Promise<void>): Promise<((group: Group) => GroupAnswer | null) | null> {
    const generation = this.forget()
    const connection = ++this.#connection
    const found = (await this.#link.once('sync', this.#state.keys.writer(this.#state.writer), [connection])) as Reply[]
    const last = Number(String(found[0] ?? 0))
    if (this.#applied < last && this.copies) await this.#replicated(generation)
    await before()
    if (!this.current(generation)) return null
    if (last < this.#applied) this.#state.onEvent({ type: 'rolled-back', groups: this.#applied - last })
    this.#applied = last
    this.#sent = last
    this.#state.synced = true
    return (group) => {
      if (!group.sent || group.number > last || group.number <= last - 2) return null
      const reply = found[1 + (group.number % 2)]
      return reply == null ? null : parseAnswer(String(reply), this.#link.nextPlace())
    }
  }

  send(group: Group, answered: (answer: GroupAnswer) => void, failed: (error: unknown) => void): void {
    const { keys, writer, node, incarnation } = this.#state
    group.number = ++this.#sent
    group.sent = true
    group.encoded ??= this.#encoder.encode(group)
    const generation = this.#generation
    const facts = [keys.prefix, keys.aedes, writer, node, incarnation]
    const args = [...facts, group.number, group.grows ? 1 : 0, this.#options.changesKept]
    let place = 0
    const answer = this.#link.evaluate(
      'group',
      keys.writer(writer),
      [...args, group.encoded, this.#connection],
      (arrived) => {
        place = arrived
      },
    )
    const copied = this.copies ? this.#replicated(generation) : null
    const outcome = copied === null ? answer : Promise.all([answer, copied]).then(([reply]) => reply)
    outcome.then(
      (reply) => {
        if (!this.current(generation)) return
        this.#applied = Math.max(this.#applied, group.number)
        answered(parseAnswer(String(reply), place))
      },
      (error: unknown) => {
        if (this.current(generation)) failed(error)
      },
    )
  }

  /** @throws SluiceError when this server cannot give what `redis.waitAof` asks for */
  async checkCopies(): Promise<void> {
    if (!this.#options.replicas.aof) return
    try {
      await this.#link.client.call('WAITAOF', '1', '0', '1000')
    } catch (error) {
      const { message } = error as Error
      if (/unknown command/i.test(message))
        throw new SluiceError('store_version', 'redis.waitAof needs Redis 7.2 or later: this server has no WAITAOF')
      if (refusal(error) !== null) throw new SluiceError('config_invalid', `redis.waitAof: Redis says: ${message}`)
      throw error
    }
  }

  /** Replicas have to have what is written. */
  get copies(): boolean {
    return this.#options.replicas.count > 0 || this.#options.replicas.aof
  }

  /** Waits until as many replicas as asked for have everything sent so far, or the connection is given up. */
  async #replicated(generation: number): Promise<void> {
    const { count, aof } = this.#options.replicas
    const { client } = this.#link
    const wanted = String(count)
    while (this.current(generation)) {
      let reply: unknown
      try {
        reply = await (aof ? client.call('WAITAOF', '1', wanted, '1000') : client.call('WAIT', wanted, '1000'))
      } catch (error) {
        if (refusal(error) === null) throw error
        // The write itself is done: it is given up when it takes too long, not refused as if it were not there.
        await new Promise<void>((resolve) => this.#state.clock.after(COPIES_AGAIN_MS, resolve))
        continue
      }
      const [local, copies] = Array.isArray(reply) ? (reply as number[]) : [1, reply as number]
      if (local! >= 1 && copies! >= count) return
    }
  }
}
