import type { Clock } from '../base/clock.ts'
import type { Limits } from '../config/schema.ts'
import { SluiceError } from '../errors.ts'
import type { Connection } from './connection.ts'
import { TokenBucket } from './token-bucket.ts'

/** Connections beyond `connectionsMax` that are read up to their CONNECT, so that they hear why they are refused. */
export const TOLD_MAX = 64

/** Addresses whose rate is remembered. Forgetting one costs no more than a bucket that is full again. */
const ADDRESSES_MAX = 65_536

/** How many seconds' worth of CONNECT packets may come at once. */
const BURST_SECONDS = 2

/** Who may connect, as far as numbers and rates are concerned. */
export class Gate {
  readonly #clock: Clock
  readonly #connectionsMax: number
  readonly #byListener = new Map<string, number>()
  readonly #byAddress = new Map<string, number>()
  readonly #byUser = new Map<string, number>()
  readonly #listenerRates = new Map<string, TokenBucket>()
  readonly #addressRates = new Map<string, TokenBucket>()
  /** Network connections, whether or not CONNECT has come. */
  connections = 0
  /** Why no new clients are taken at all; null: they are. */
  closedBecause: string | null = null

  constructor(clock: Clock, connectionsMax: number) {
    this.#clock = clock
    this.#connectionsMax = connectionsMax
  }

  /** A connection was accepted. False: there are too many to even listen to what it says. */
  opened(c: Connection): boolean {
    this.connections++
    const { protocol, address } = c.stream.peer
    count(this.#byListener, protocol, 1)
    count(this.#byAddress, networkOf(address), 1)
    return this.connections <= this.#connectionsMax + TOLD_MAX
  }

  closed(c: Connection): void {
    this.connections--
    const { protocol, address } = c.stream.peer
    count(this.#byListener, protocol, -1)
    count(this.#byAddress, networkOf(address), -1)
    if (c.countedUser !== null) count(this.#byUser, c.countedUser, -1)
  }

  /**
   * CONNECT came; who the client is has not been checked yet.
   * @param takesOver it replaces a connection that stands, so their number stays the same
   * @throws SluiceError server_unavailable, quota_exceeded, connection_rate_exceeded
   */
  check(c: Connection, takesOver: boolean): void {
    const { protocol, address } = c.stream.peer
    const spare = takesOver ? 1 : 0
    if (this.connections > this.#connectionsMax + spare) throw tooMany('connectionsMax', this.#connectionsMax)
    if (this.closedBecause !== null && !takesOver) throw new SluiceError('quota_exceeded', this.closedBecause)
    const { connectionsPerListenerMax, connectionsPerAddressMax } = c.limits
    if (over(this.#byListener.get(protocol), connectionsPerListenerMax, spare))
      throw tooMany('connectionsPerListenerMax', connectionsPerListenerMax)
    if (address !== '' && over(this.#byAddress.get(networkOf(address)), connectionsPerAddressMax, spare))
      throw tooMany('connectionsPerAddressMax', connectionsPerAddressMax)
    this.#checkRate('connectsPerSecondMax', c.limits, this.#listenerRates, protocol)
    if (address !== '')
      this.#checkRate('connectsPerSecondPerAddressMax', c.limits, this.#addressRates, networkOf(address))
  }

  /**
   * The client is who it says it is and becomes a client of this user.
   * @throws SluiceError quota_exceeded
   */
  checkUser(c: Connection, user: string, takesOver: boolean): void {
    const { connectionsPerUserMax } = c.limits
    const connections = (this.#byUser.get(user) ?? 0) + 1
    if (over(connections, connectionsPerUserMax, takesOver ? 1 : 0))
      throw new SluiceError('quota_exceeded', `limits.connectionsPerUserMax of ${connectionsPerUserMax} is reached`)
  }

  /** Counts it among the connections of the user until it closes. */
  connectedAs(c: Connection, user: string): void {
    count(this.#byUser, user, 1)
    c.countedUser = user
  }

  #checkRate(
    name: 'connectsPerSecondMax' | 'connectsPerSecondPerAddressMax',
    limits: Limits,
    rates: Map<string, TokenBucket>,
    key: string,
  ): void {
    const perSecond = limits[name]
    if (perSecond === 0) return
    const now = this.#clock.monotonic()
    let bucket = rates.get(key)
    if (bucket === undefined) {
      if (rates.size >= ADDRESSES_MAX) rates.delete(rates.keys().next().value!)
      bucket = new TokenBucket(perSecond, perSecond * BURST_SECONDS, now)
      rates.set(key, bucket)
    }
    if (!bucket.takeOne(now))
      throw new SluiceError('connection_rate_exceeded', `limits.${name} of ${perSecond} is exceeded`)
  }
}

/**
 * What counts as one address: of IPv6 the first 64 bits, since whoever has one has all that begin with them (RFC 4291, section
 * 2.5.4).
 */
export function networkOf(address: string): string {
  if (!address.includes(':')) return address
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)
  if (mapped !== null) return mapped[1]!
  const [head = '', tail] = address.split('%', 1)[0]!.split('::')
  const groups = head === '' ? [] : head.split(':')
  if (tail !== undefined) {
    const behind = tail === '' ? [] : tail.split(':')
    while (groups.length + behind.length < 8) groups.push('0')
  }
  return `${groups.slice(0, 4).join(':').toLowerCase()}::`
}

function over(connections: number | undefined, max: number, spare: number): boolean {
  return max > 0 && (connections ?? 0) > max + spare
}

function tooMany(name: string, max: number): SluiceError {
  return new SluiceError('server_unavailable', `limits.${name} of ${max} is reached`)
}

function count(counts: Map<string, number>, key: string, change: 1 | -1): void {
  const now = (counts.get(key) ?? 0) + change
  if (now > 0) counts.set(key, now)
  else counts.delete(key)
}
