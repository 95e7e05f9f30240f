/** Names of the keys: see docs/decisions/0006-nodes-over-redis.md for what is in them. */
export class Keys {
  /** In front of our own keys. */
  readonly prefix: string
  /** In front of those that aedes-persistence-redis knows too. */
  readonly aedes: string

  constructor(prefix: string) {
    this.prefix = prefix
    this.aedes = prefix.startsWith('{') ? prefix : ''
  }

  lane(name: string): string {
    return name.startsWith('q/') ? `${this.prefix}queue:${name.slice(2)}` : `${this.prefix}lane:${name}`
  }
  marks(lane: string): string {
    return `${this.prefix}marks:${lane}`
  }
  body(id: string): string {
    return `${this.prefix}body:${id}`
  }
  writer(id: string): string {
    return `${this.prefix}writer:${id}`
  }
  /** Client Identifiers that others took from the node: see `clusters/redis/scripts.ts`. */
  passed(node: string): string {
    return `${this.prefix}passed:${node}`
  }
  inbound(clientId: string): string {
    return `${this.prefix}inbound:${clientId}`
  }
  /** Channel on which a process hears of lanes it keeps. */
  wake(writer: string): string {
    return `${this.prefix}wake:${writer}`
  }
  get lanes(): string {
    return `${this.prefix}lanes`
  }
  get keepers(): string {
    return `${this.prefix}keepers`
  }
  get sessions(): string {
    return `${this.prefix}sessions`
  }
  get wills(): string {
    return `${this.prefix}wills`
  }
  get meta(): string {
    return `${this.prefix}meta`
  }
  get changes(): string {
    return `${this.prefix}changes`
  }
  /** Channel that says that there are new changes. */
  get changed(): string {
    return `${this.prefix}changed`
  }
  get doomed(): string {
    return `${this.prefix}doomed`
  }
  get retained(): string {
    return `${this.aedes}retained`
  }
  get clients(): string {
    return `${this.aedes}clients`
  }
  client(clientId: string): string {
    return `${this.aedes}client:${encodeURIComponent(clientId)}`
  }
}
