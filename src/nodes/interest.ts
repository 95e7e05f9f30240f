import type { Destination } from '../router/destinations.ts'
import { type Group, NodeInterest, RemoteMember } from '../router/destinations.ts'
import type { TopicTree } from '../router/topic-tree.ts'
import type { Store } from '../store.ts'
import { isShared } from '../wire/topic.ts'
import type { RemoteNode } from './remote-node.ts'

const PREFIX = 'interest/'

/** What a node asks of the others for one Topic Filter. */
interface Wish {
  /** Sessions that end with their connections and are subscribed, by the QoS they asked for being 0, or more. */
  at0: number
  above: number
}

/**
 * Which Topic Filters clients without stored sessions are subscribed to, on which node. Nodes tell each other through
 * records of the store, so that a node that was away finds them all: `interest/<node>/<filter>` holds 1 (messages may be lost),
 * 2 (QoS 1 and 2 have to arrive), or for a shared subscription the number of its members there.
 */
export class Interest {
  readonly #store: Store
  readonly #tree: TopicTree<Destination>
  readonly #groupOf: (key: string) => Group
  readonly #groupLeft: (group: Group) => void
  readonly #nodeId: string
  readonly #wishes = new Map<string, Wish>()
  /** Of other nodes: by node, then by filter. */
  readonly #theirs = new Map<string, Map<string, NodeInterest | RemoteMember[]>>()

  constructor(parts: {
    store: Store
    tree: TopicTree<Destination>
    nodeId: string
    /** The shared subscription of that key, made when there is none. */
    groupOf(key: string): Group
    /** A member left it. */
    groupLeft(group: Group): void
  }) {
    this.#store = parts.store
    this.#tree = parts.tree
    this.#nodeId = parts.nodeId
    this.#groupOf = parts.groupOf
    this.#groupLeft = parts.groupLeft
  }

  /** A session that ends with its connection subscribes here. */
  add(topicFilter: string, qos: number): void {
    let wish = this.#wishes.get(topicFilter)
    const before = wish === undefined ? 0 : levelOf(topicFilter, wish)
    if (wish === undefined) {
      wish = { at0: 0, above: 0 }
      this.#wishes.set(topicFilter, wish)
    }
    if (qos === 0) wish.at0++
    else wish.above++
    this.#tell(topicFilter, before, levelOf(topicFilter, wish))
  }

  remove(topicFilter: string, qos: number): void {
    const wish = this.#wishes.get(topicFilter)
    if (wish === undefined) return
    const before = levelOf(topicFilter, wish)
    if (qos === 0) wish.at0--
    else wish.above--
    const after = levelOf(topicFilter, wish)
    if (after === 0) this.#wishes.delete(topicFilter)
    this.#tell(topicFilter, before, after)
  }

  /** A record of the store changed: another node's wish. */
  changed(key: string, value: unknown, nodeOf: (nodeId: string) => RemoteNode | undefined): void {
    const slash = key.indexOf('/', PREFIX.length)
    const nodeId = key.slice(PREFIX.length, slash)
    const topicFilter = key.slice(slash + 1)
    if (nodeId === this.#nodeId) return
    const node = nodeOf(nodeId)
    this.#set(nodeId, topicFilter, node === undefined ? 0 : Number(value ?? 0), node)
  }

  /** The node is gone: its wishes no longer count. */
  forget(nodeId: string): void {
    for (const topicFilter of [...(this.#theirs.get(nodeId)?.keys() ?? [])])
      this.#set(nodeId, topicFilter, 0, undefined)
    this.#theirs.delete(nodeId)
  }

  forgetAll(): void {
    for (const nodeId of [...this.#theirs.keys()]) this.forget(nodeId)
  }

  /** Keys of the records that a node has left in the store. */
  keysOf(nodeId: string): string[] {
    return [...this.#store.meta(`${PREFIX}${nodeId}/`).keys()]
  }

  /** Nodes that have records in the store. */
  nodes(): Set<string> {
    const nodes = new Set<string>()
    for (const key of this.#store.meta(PREFIX).keys())
      nodes.add(key.slice(PREFIX.length, key.indexOf('/', PREFIX.length)))
    return nodes
  }

  /** Reads what the store has. */
  restore(nodeOf: (nodeId: string) => RemoteNode | undefined): void {
    for (const [key, value] of this.#store.meta(PREFIX)) this.changed(key, value, nodeOf)
  }

  static isInterest(key: string): boolean {
    return key.startsWith(PREFIX)
  }

  #tell(topicFilter: string, before: number, after: number): void {
    if (after === before) return
    const key = `${PREFIX}${this.#nodeId}/${topicFilter}`
    if (after === 0) this.#store.deleteMeta(key)
    else this.#store.putMeta(key, after)
  }

  #set(nodeId: string, topicFilter: string, value: number, node: RemoteNode | undefined): void {
    let filters = this.#theirs.get(nodeId)
    if (filters === undefined) {
      filters = new Map()
      this.#theirs.set(nodeId, filters)
    }
    const known = filters.get(topicFilter)
    if (known instanceof NodeInterest) this.#tree.remove(topicFilter, known)
    else if (known !== undefined)
      for (const member of known) {
        member.group.members.remove(member)
        this.#groupLeft(member.group)
      }
    filters.delete(topicFilter)
    if (value === 0 || node === undefined) return
    if (!isShared(topicFilter)) {
      const interest = new NodeInterest(node, value > 1)
      this.#tree.add(topicFilter, interest)
      filters.set(topicFilter, interest)
      return
    }
    const group = this.#groupOf(topicFilter)
    const members = Array.from({ length: value }, (_, i) => new RemoteMember(node, group, i))
    for (const member of members) group.members.add(member)
    filters.set(topicFilter, members)
  }
}

function levelOf(topicFilter: string, { at0, above }: Wish): number {
  if (isShared(topicFilter)) return at0 + above
  return above > 0 ? 2 : at0 > 0 ? 1 : 0
}
