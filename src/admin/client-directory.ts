import type { Core } from '../connection/core.ts'
import { SluiceError } from '../errors.ts'
import type { Nodes } from '../nodes/nodes.ts'
import type { Session } from '../session/session.ts'
import { type DropCounts, noDrops } from '../telemetry/drops.ts'
import { type ClientInfo, clientInfo, slowReaders } from './client-info.ts'

const KIND = 'clients'

/** What nodes ask each other about clients. */
type Question =
  | { readonly ask: 'one'; readonly clientId: string }
  | { readonly ask: 'end'; readonly clientId: string }
  | { readonly ask: 'drops'; readonly clientIds: readonly string[] }
  | { readonly ask: 'slow'; readonly max: number }
  | { readonly ask: 'part'; readonly of: Part; readonly after: number; readonly max: number }

/** Which clients of a node: all it knows, those it serves, or those that no node serves. */
type Part = 'all' | 'connected' | 'away'

/** Clients in the order in which a node came to know them. `last`: what the next come after; null: there are none. */
interface Slice {
  readonly clients: ClientInfo[]
  readonly last: number | null
}

/** A node and its part, as they stand in `next`: those connected come before those away. */
interface Place {
  readonly nodeId: string | null
  readonly part: Part
  readonly name: string
}

/**
 * Clients as the API shows them. Where there are several nodes, the one that serves a client is asked about it, and the one that
 * leads about those that are away. Messages are dropped where they are published: all nodes are asked about drops.
 */
export class ClientDirectory {
  readonly #core: Core
  readonly #nodes: Nodes | null

  constructor(core: Core) {
    this.#core = core
    this.#nodes = core.nodes
    this.#nodes?.answers.set(KIND, (body) => this.#answer(body as Question))
  }

  /** Null: there is no such session. Rejects with SluiceError kind dependency when a node cannot be asked, as all here do. */
  async find(clientId: string): Promise<ClientInfo | null> {
    const nodeId = await this.#servedBy(clientId)
    const found = nodeId === null ? null : ((await this.#ask(nodeId, { ask: 'one', clientId })) as ClientInfo | null)
    const client = found ?? (await this.#known(clientId))
    if (client !== null) await this.#countDrops([client])
    return client
  }

  /** Closes the connection, ends the session and publishes the will. False: there is no such session. */
  async end(clientId: string): Promise<boolean> {
    const nodeId = await this.#servedBy(clientId)
    return nodeId === null ? this.#end(clientId) : (await this.#ask(nodeId, { ask: 'end', clientId })) === true
  }

  /** Clients that do not keep up, those with most unsent bytes first. */
  async slow(max: number): Promise<ClientInfo[]> {
    const others = (await this.#askOthers({ ask: 'slow', max })) as ClientInfo[][]
    const all = [slowReaders(this.#core, max), ...others].flat()
    if (others.length > 0) all.sort((a, b) => b.unsentBytes - a.unsentBytes)
    return all.slice(0, max)
  }

  /**
   * One page: of several nodes those that one serves, then those that the next serves, then those that are away.
   * @param after `next` of the page before, '0' for the first
   * @param connected only those that are, or are not; undefined: all
   */
  async page(
    after: string,
    limit: number,
    connected: boolean | undefined,
  ): Promise<{ clients: ClientInfo[]; next: string | null }> {
    const dot = after.indexOf('.')
    const start = Number(dot === -1 ? after : after.slice(0, dot))
    const at = dot === -1 ? '' : after.slice(dot + 1)
    const clients: ClientInfo[] = []
    let next: string | null = null
    for (const place of this.#places(connected)) {
      if (place.name < at || next !== null) continue
      const question: Question = {
        ask: 'part',
        of: place.part,
        after: place.name === at ? start : 0,
        max: limit - clients.length,
      }
      const slice = (await (place.nodeId === null
        ? this.#answer(question)
        : this.#ask(place.nodeId, question))) as Slice
      clients.push(...slice.clients)
      if (slice.last !== null) next = place.name === '' ? String(slice.last) : `${slice.last}.${place.name}`
    }
    await this.#countDrops(clients)
    return { clients, next }
  }

  #places(connected: boolean | undefined): Place[] {
    if (this.#nodes === null) {
      const part = connected === undefined ? 'all' : connected ? 'connected' : 'away'
      return [{ nodeId: null, part, name: '' }]
    }
    const { nodeId: own, others, leader } = this.#nodes.cluster
    const places: Place[] = []
    const add = (part: Part, nodeId: string): void => {
      places.push({ nodeId: nodeId === own ? null : nodeId, part, name: `${part[0] === 'c' ? 'c' : 'd'}.${nodeId}` })
    }
    if (connected !== false) for (const nodeId of [own, ...others.keys()].sort()) add('connected', nodeId)
    if (connected !== true) add('away', leader ?? own)
    return places
  }

  async #answer(question: Question): Promise<unknown> {
    switch (question.ask) {
      case 'one':
        return this.#known(question.clientId)
      case 'end':
        return this.#end(question.clientId)
      case 'drops':
        return this.#drops(question.clientIds)
      case 'slow':
        return slowReaders(this.#core, question.max)
      case 'part':
        return this.#slice(question.of, question.after, question.max)
    }
  }

  /** The other node that serves it; null: this one, or none. */
  async #servedBy(clientId: string): Promise<string | null> {
    if (this.#nodes === null || (this.#core.sessions.find(clientId)?.owner ?? null) !== null) return null
    const { cluster } = this.#nodes
    const nodeId = await cluster.ownerOf(clientId)
    return nodeId === cluster.nodeId ? null : nodeId
  }

  async #known(clientId: string): Promise<ClientInfo | null> {
    const session = this.#core.sessions.find(clientId)
    if (session === undefined) return null
    await this.#measure([session])
    return clientInfo(this.#core, session)
  }

  /** Where nodes share the store, only the store knows how much waits. */
  async #measure(sessions: readonly Session[]): Promise<void> {
    const { shared } = this.#core.store
    if (shared !== null) await Promise.all(sessions.map(({ lane }) => (lane === null ? null : shared.measure(lane))))
  }

  async #slice(part: Part, after: number, max: number): Promise<Slice> {
    const found: Session[] = []
    let more = false
    for (const session of this.#core.sessions.values()) {
      if (session.serial <= after || !isOf(part, session)) continue
      more = found.length === max
      if (more) break
      found.push(session)
    }
    await this.#measure(found)
    const clients = found.map((session) => clientInfo(this.#core, session))
    return { clients, last: more ? (found.at(-1)?.serial ?? after) : null }
  }

  async #end(clientId: string): Promise<boolean> {
    const { sessions, wills, commits } = this.#core
    const endNow = (): boolean => {
      const session = sessions.find(clientId)
      if (session === undefined) return false
      session.owner?.disconnect(0x98, 'an administrator ended the session', 'administrative_action')
      sessions.end(session)
      // A will that waits for its delay is due when the session ends [v5 MQTT-3.1.2-8].
      wills.publish(clientId)
      return true
    }
    const { claims } = sessions
    let ended = false
    if (claims === null || (sessions.find(clientId)?.owner ?? null) !== null) ended = endNow()
    else {
      const go = (): void => {
        ended = endNow()
      }
      if (!(await claims.obtainVacant(clientId, go)))
        throw new SluiceError('server_unavailable', 'the client is just connecting: try again')
    }
    await commits.done()
    await this.#nodes?.heardSoon()
    return ended
  }

  #drops(clientIds: readonly string[]): (DropCounts | null)[] {
    return clientIds.map((clientId) => this.#core.sessions.find(clientId)?.drops ?? null)
  }

  /** Drops of all nodes. */
  async #countDrops(clients: readonly ClientInfo[]): Promise<void> {
    if (this.#nodes === null || clients.length === 0) return
    const clientIds = clients.map(({ clientId }) => clientId)
    const counts = (await this.#askOthers({ ask: 'drops', clientIds })) as (DropCounts | null)[][]
    for (const [i, client] of clients.entries()) {
      client.dropped = noDrops()
      for (const of of [this.#drops([client.clientId]), ...counts.map((all) => [all[i] ?? null])])
        for (const [cause, count] of Object.entries(of[0] ?? {})) client.dropped[cause as keyof DropCounts] += count
    }
  }

  #ask(nodeId: string, question: Question): Promise<unknown> {
    return this.#nodes!.cluster.request(nodeId, KIND, question)
  }

  #askOthers(question: Question): Promise<unknown[]> {
    return Promise.all([...(this.#nodes?.cluster.others.keys() ?? [])].map((nodeId) => this.#ask(nodeId, question)))
  }
}

function isOf(part: Part, session: Session): boolean {
  switch (part) {
    case 'all':
      return true
    case 'connected':
      return session.link !== null
    case 'away':
      return session.link === null && session.node === null
  }
}
