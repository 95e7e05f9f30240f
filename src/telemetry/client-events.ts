/**
 * What happens to clients, as messages: `$events/client/<event>/<client id>` with a small JSON payload. They pass the
 * router as any message does, so a bridge rule can keep them in a queue. `docs/broker-topics.md` lists them.
 *
 * They are sent at QoS 1, not retained, at the end of the event-loop turn in which they happened, in order.
 */
import type { Clock } from '../base/clock.ts'
import { SluiceError } from '../errors.ts'
import type { Commits } from '../router/commits.ts'
import { encodeMessage, NO_EXPIRY, Origin } from '../router/message.ts'
import { Publication } from '../router/publication.ts'
import type { Router } from '../router/router.ts'
import type { EventMap, Events } from './events.ts'

export interface ClientEventsContext {
  readonly events: Events
  readonly router: Router
  readonly commits: Commits
  readonly clock: Clock
  /** Length of the longest Topic Name, in bytes. */
  readonly topicBytesMax: number
}

/** The events that are told, and the name of each in the topic. */
export const clientEventNames = {
  clientConnected: 'connected',
  clientDisconnected: 'disconnected',
  clientSubscribed: 'subscribed',
  clientUnsubscribed: 'unsubscribed',
  connectionRefused: 'refused',
  sessionExpired: 'expired',
} as const satisfies { readonly [K in keyof EventMap]?: string }

type Told = keyof typeof clientEventNames

/** Tells them until `stop`. */
export class ClientEvents {
  readonly #c: ClientEventsContext
  readonly #publication = new Publication()
  readonly #origin = new Origin('', undefined)
  #offs: (() => void)[] = []
  /** What happened in this turn. */
  #waiting: { name: Told; at: number; event: EventMap[Told] }[] = []

  constructor(context: ClientEventsContext) {
    this.#c = context
  }

  start(): void {
    for (const name of Object.keys(clientEventNames) as Told[])
      this.#offs.push(this.#c.events.on(name, (event) => this.#happened(name, event)))
  }

  /** Tells what waits, and no more. */
  stop(): void {
    for (const off of this.#offs) off()
    this.#offs = []
    this.#tell()
  }

  #happened(name: Told, event: EventMap[Told]): void {
    // Not at once: the connection it is about may be in the middle of a packet.
    if (this.#waiting.length === 0) setImmediate(() => this.#tell())
    this.#waiting.push({ name, at: this.#c.clock.now(), event })
  }

  #tell(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const { name, at, event } of waiting) {
      const { clientId } = event
      // Refused before it said who it is: there is no topic for it.
      if (clientId === null || clientId === '') continue
      try {
        this.#publish(
          topicOf(name, clientId, this.#c.topicBytesMax),
          { time: new Date(at).toISOString(), ...event },
          at,
        )
      } catch (error) {
        // The operator allows no topics of four levels: then there are none of them.
        if (error instanceof SluiceError && error.code === 'topic_name_invalid') continue
        this.#c.events.emit('internalError', { where: `telling ${name}`, error })
      }
    }
  }

  #publish(topic: string, body: object, time: number): void {
    const { router, commits } = this.#c
    const message = encodeMessage({
      topic,
      clientId: '',
      qos: 1,
      retain: false,
      time,
      properties: Buffer.alloc(0),
      payload: Buffer.from(JSON.stringify(body)),
      expirySeconds: NO_EXPIRY,
    })
    const publication = this.#publication
    publication.load(message, time)
    const match = router.match(publication.topicBuf, publication.topicStart, publication.topicEnd)
    if (match.empty && !match.observed) return
    if (router.publish(publication, match, { session: null, origin: this.#origin })) commits.schedule()
  }
}

/**
 * The topic of an event. What means something in a topic is percent-encoded in the Client Identifier, and `%` itself;
 * an identifier that makes the topic too long is cut (the payload has all of it).
 */
export function topicOf(name: Told, clientId: string, topicBytesMax: number): string {
  const head = `$events/client/${clientEventNames[name]}/`
  let room = topicBytesMax - Buffer.byteLength(head)
  let level = ''
  for (const character of clientId) {
    const written = needsEncoding.test(character) ? encodeURIComponent(character) : character
    room -= Buffer.byteLength(written)
    if (room < 0) break
    level += written
  }
  return head + level
}

const needsEncoding = /[%/+#\p{Cc}]/u
