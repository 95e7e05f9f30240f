/**
 * What a worker receives: one message with its origin, as JSON. `v` names the version of this form; within a version
 * keys are only ever added.
 *
 * `id` is `<epoch of the queue>-<sequence number>`. The epoch is 64 random bits, drawn once when the queue is made and
 * kept in the store; sequence numbers never go back. So an id is the same for every delivery and for the dead letter,
 * and of no other message for ever. A message that enters two queues has an id in each.
 */
import { isUtf8 } from 'node:buffer'
import type { Delivery } from '../queue/delivery.ts'
import { decodeTerms } from '../queue/terms.ts'
import { decodeMessage } from '../router/message.ts'
import { IsoTimes } from './iso-time.ts'
import { envelopeProperties } from './properties.ts'

export interface EnvelopeFailure {
  /** ISO 8601. */
  at: string
  /** 1 = first. */
  attempt: number
  reason: string
}

/** MQTT 5 properties of the message, for those that were set. */
export interface EnvelopeProperties {
  /** 1: the publisher says that the payload is UTF-8 text. */
  payloadFormatIndicator?: number
  /** In seconds, as the publisher sent it. */
  messageExpiryInterval?: number
  contentType?: string
  responseTopic?: string
  /** base64. */
  correlationData?: string
  /** In order; names may repeat. */
  userProperties?: [string, string][]
}

export interface Envelope {
  v: 1
  /** The same for every delivery of this message; of no other message ever. */
  id: string
  queue: string
  /** Proves who holds the lease; `ack`, `nack` and `extend` ask for it. Another one for every delivery. */
  receipt: string
  topic: string
  /** The levels of the topic. */
  levels: string[]
  /** Client Identifier of the publisher. */
  clientId: string
  /** User Name of the publisher. */
  userName?: string
  qos: 0 | 1 | 2
  retain: boolean
  /** When the broker took the message, ISO 8601. */
  time: string
  /** How `payload` carries the bytes: as the text they are, or as base64 when they are not UTF-8. */
  encoding: 'utf8' | 'base64'
  payload: string
  properties?: EnvelopeProperties
  /** 1 = first. */
  attempt: number
  /** ISO 8601. */
  leasedUntil: string
  /** Failures so far, oldest first; of a dead letter those in the queue it came from come first. */
  failures?: EnvelopeFailure[]
  /** The bridge rule that put it into quarantine, and why. */
  rule?: string
  note?: string
  /** Only on dead letters: the queue in which the attempts were used up. */
  deadLetter?: { queue: string; attempts: number; at: string }
}

/** @throws SluiceError store_corrupt */
export function envelopeOf(delivery: Delivery, queue: string, id: string): Envelope {
  const message = decodeMessage(delivery.message)
  const text = isUtf8(message.payload)
  const envelope: Envelope = {
    v: 1,
    id,
    queue,
    receipt: delivery.receipt,
    topic: message.topic,
    levels: message.topic.split('/'),
    clientId: message.clientId,
    qos: message.qos,
    retain: message.retain,
    time: times.format(message.time),
    encoding: text ? 'utf8' : 'base64',
    payload: message.payload.toString(text ? 'utf8' : 'base64'),
    attempt: delivery.attempt,
    leasedUntil: leaseTimes.format(delivery.leasedUntil),
  }
  if (message.userName !== undefined) envelope.userName = message.userName
  if (message.properties.length > 0) envelope.properties = envelopeProperties(message.properties)
  if (delivery.extra === null && !delivery.failedBefore) return envelope
  const { rule, note } = decodeTerms(delivery.extra)
  if (rule !== undefined) envelope.rule = rule
  if (note !== undefined) envelope.note = note
  const letter = delivery.deadLetter
  if (letter !== null) {
    envelope.id = letter.id
    envelope.deadLetter = { queue: letter.queue, attempts: letter.attempts, at: times.format(letter.at) }
  }
  const failures = [...(letter?.failures ?? []), ...delivery.failures]
  if (failures.length > 0) envelope.failures = failures.map((failure) => ({ ...failure, at: times.format(failure.at) }))
  return envelope
}

/** The time the message came and the end of its lease lie apart: each has its own. */
const times = new IsoTimes()
const leaseTimes = new IsoTimes()
