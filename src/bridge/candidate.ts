import { hash } from 'node:crypto'
import type { Publication } from '../router/publication.ts'
import { PacketType } from '../wire/control.ts'
import { decodePropertyBytes } from '../wire/property-bytes.ts'
import { splitLevels } from '../wire/topic.ts'

/** Stands for a payload that is no JSON, which `undefined` and `null` could not. */
export const NOT_JSON: unique symbol = Symbol('not JSON')

const NO_PROPERTIES: readonly [string, string][] = []
const EMPTY = Buffer.alloc(0)

/** A message as somebody describes it, for `rule test`. */
export interface MessageFacts {
  readonly topic: string
  readonly payload: Buffer
  readonly clientId: string
  readonly userName?: string | undefined
  readonly qos: 0 | 1 | 2
  readonly retain: boolean
  readonly userProperties?: readonly [string, string][]
  /** Wall clock ms. */
  readonly time: number
}

/**
 * A message that bridge rules look at. What costs something (levels, JSON, properties) is worked out when the first
 * rule asks and kept for the others. The instance is reused: `load` forgets everything.
 */
export class Candidate {
  clientId = ''
  userName: string | undefined
  qos: 0 | 1 | 2 = 0
  retain = false
  /** Sent before, says the client: a retransmission. */
  dup = false
  /** 0 for QoS 0. */
  packetId = 0
  /** Wall clock ms. */
  time = 0
  #publication: Publication | null = null
  #topic: string | null = ''
  #payload: Buffer | null = EMPTY
  #levels: readonly string[] | null = null
  #json: unknown
  #parsed = false
  #properties: readonly [string, string][] | null = NO_PROPERTIES

  /** The publication must stay as it is while rules look at it. */
  load(publication: Publication, clientId: string, userName: string | undefined, time: number): void {
    this.#topic = null
    this.clientId = clientId
    this.userName = userName
    this.qos = publication.qos
    this.retain = publication.retain
    this.dup = publication.dup
    this.packetId = publication.packetId
    this.time = time
    this.#publication = publication
    this.#payload = null
    this.#levels = null
    this.#forget(null)
  }

  describe(facts: MessageFacts): void {
    this.#topic = facts.topic
    this.clientId = facts.clientId
    this.userName = facts.userName
    this.qos = facts.qos
    this.retain = facts.retain
    this.dup = false
    this.packetId = facts.qos === 0 ? 0 : 1
    this.time = facts.time
    this.#publication = null
    this.#payload = facts.payload
    this.#levels = null
    this.#forget(facts.userProperties ?? NO_PROPERTIES)
  }

  get topic(): string {
    this.#topic ??= this.#publication!.topic
    return this.#topic
  }

  get levels(): readonly string[] {
    this.#levels ??= splitLevels(this.topic)
    return this.#levels
  }

  /** Shared with the packet: neither kept nor written to. */
  get payload(): Buffer {
    this.#payload ??= this.#publication!.payload
    return this.#payload
  }

  /** The payload's JSON value, or NOT_JSON. Shared by all rules: never changed. */
  get json(): unknown {
    if (!this.#parsed) {
      this.#parsed = true
      try {
        this.#json = JSON.parse(this.payload.toString()) as unknown
      } catch {
        this.#json = NOT_JSON
      }
    }
    return this.#json
  }

  /** In order; names may repeat. */
  get userProperties(): readonly [string, string][] {
    if (this.#properties === null) {
      const { propsBuf, propsStart, propsEnd } = this.#publication!
      this.#properties =
        propsStart === propsEnd
          ? NO_PROPERTIES
          : (decodePropertyBytes(propsBuf.subarray(propsStart, propsEnd), PacketType.PUBLISH).userProperties ??
            NO_PROPERTIES)
    }
    return this.#properties
  }

  /** The first user property of this name. */
  property(name: string): string | undefined {
    return this.userProperties.find(([key]) => key === name)?.[1]
  }

  /**
   * What a retransmission shares with what was sent first: client, Packet Identifier, topic and payload. Undefined for
   * QoS 0, which is never sent again.
   */
  get retransmissionKey(): string | undefined {
    if (this.packetId === 0) return undefined
    const content = hash('sha1', Buffer.concat([Buffer.from(`${this.topic}\0`), this.payload]), 'base64')
    return `${this.clientId}\0${this.packetId}\0${content}`
  }

  #forget(properties: readonly [string, string][] | null): void {
    this.#json = undefined
    this.#parsed = false
    this.#properties = properties
  }
}
