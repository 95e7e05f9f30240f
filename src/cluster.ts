/**
 * PORT: what nodes tell each other. Durable state that nodes share travels through the store; this port carries what is
 * about being connected now: who is there, who serves which Client Identifier, live messages, questions.
 *
 *     outside ──join──▶ member ──leave──▶ outside
 *                         └──declared dead by another node──▶ fenced (starts again as a new incarnation, or exits)
 */

/** A node as others see it. */
export interface NodeFacts {
  readonly nodeId: string
  /** Raised each time a node of this name joins or is declared dead: what an older one writes is refused. */
  readonly incarnation: number
  readonly version: string
  /** Nodes of different numbers do not understand each other and do not join each other. */
  readonly protocol: number
  /** Machine and process: a node that starts on the same machine knows whether this one still runs. */
  readonly machine: string
  readonly process: string
  /** Wall clock, ms since 1970. */
  readonly startedAt: number
  /** Where its clients connect, e.g. `mqtt://10.0.0.1:1883`. */
  readonly address: string
  /** It takes no new clients and is about to leave. */
  readonly draining: boolean
}

export interface ClusterListener {
  /** Live messages of another node, as given to `send`. The bytes are the listener's. */
  messages(from: string, frames: Buffer): void
  /** That node has taken live messages of ours: `untaken` is less. */
  taken(nodeId: string): void
  /**
   * A client with this identifier connects elsewhere. Resolves when its connection here is closed and what it
   * acknowledged is durable. Rejects with `not_authorized` when the session here is another user's.
   * @param user who connects, as checked there; null: nobody was checked
   */
  surrender(clientId: string, user: string | null): Promise<void>
  /** A question of another node, as given to `request`. A rejection becomes the asker's. */
  asked(from: string, kind: string, body: unknown): Promise<unknown>
  /** A node joined, or its facts changed. */
  joined(node: NodeFacts): void
  /** The node left or was declared dead; nothing of its old incarnation can be written any more. */
  gone(nodeId: string): void
  /** This node leads from now on (true), or no longer (false): then another does. */
  leading(leads: boolean): void
  /** Others have declared this node dead: nothing it writes counts any more. */
  fenced(): void
}

export interface Cluster {
  readonly kind: 'single' | 'redis'
  readonly nodeId: string
  /** Of this node; 0 before it joined. */
  readonly incarnation: number
  /** One node at a time leads: it looks after what no living node looks after (expiry, wills of the dead). */
  readonly leads: boolean
  /** The node that leads, as last heard; null: not heard yet. */
  readonly leader: string | null
  /** Members other than this one, by name. */
  readonly others: ReadonlyMap<string, NodeFacts>

  /** Resolves when this node is a member and knows the others. Rejects with SluiceError kind dependency. */
  join(listener: ClusterListener): Promise<void>
  /** Tells the others and stops. */
  leave(): Promise<void>
  /** Announces changed facts about this node. */
  announce(facts: Partial<Pick<NodeFacts, 'address' | 'draining'>>): Promise<void>

  /**
   * Makes this node the one that serves the Client Identifier; the node that did surrenders it first. Null: it is at once
   * (there is one node). Rejects with SluiceError kind dependency when that cannot be had, and with `not_authorized` when the node
   * that serves it says that it is another user's. Claims of one identifier on one node are the caller's to put in line.
   * @param user who connects; null: nobody was checked
   */
  claim(clientId: string, user: string | null): Promise<void> | null
  /** As `claim`, but only when no node serves it: false when one does. */
  claimVacant(clientId: string): Promise<boolean>
  /** The node that serves the Client Identifier; null: none does. Rejects with SluiceError kind dependency. */
  ownerOf(clientId: string): Promise<string | null>
  /** This node no longer serves it. */
  release(clientId: string): void
  /**
   * Client Identifiers that other nodes took while this one, alive, did not surrender them in time. Until it concedes them, the
   * store refuses all it writes: what it has of them is not the truth any more.
   */
  passedOver(): Promise<string[]>
  /** This node has forgotten what it knew of them. */
  concede(clientIds: readonly string[]): Promise<void>

  /** Sends to one node at most once, after what was sent to it before. False: it cannot be sent now. */
  send(nodeId: string, frames: Buffer): boolean
  /** Bytes sent to that node which it has not been heard to have taken; what it takes is told 64 KiB at a time. */
  untaken(nodeId: string): number
  /** Asks one node. Rejects with SluiceError kind dependency when it is gone or silent. */
  request(nodeId: string, kind: string, body: unknown): Promise<unknown>
}
