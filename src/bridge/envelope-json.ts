import { isUtf8 } from 'node:buffer'
import type { Delivery } from '../queue/delivery.ts'
import { decodeMessage, get32, HEADER_BYTES, offsets, storedTime } from '../router/message.ts'
import { envelopeOf } from './envelope.ts'
import { IsoTimes } from './iso-time.ts'

/** Publishers and topics whose text is remembered. */
const PLACES_MAX = 1000
/** Longer names are written anew each time, in bytes. */
const PLACE_BYTES_MAX = 512

/** Where a message comes from, as JSON. */
interface Place {
  /** Of Client Identifier and User Name, as the stored message has them. */
  readonly lengths: number
  /** `"topic":…,"levels":…,"clientId":…` */
  readonly text: string
  /** `,"userName":…}` or `}` */
  readonly end: string
}

/**
 * Writes envelopes as JSON, text for text what `JSON.stringify` makes of `envelopeOf`. Plain messages, which are most, are
 * put together from parts: a third of the work, and nothing for the garbage collector but text.
 */
export class EnvelopeWriter {
  /** By the bytes of Client Identifier, User Name and Topic Name, as Latin-1. */
  readonly #places = new Map<string, Place>()
  readonly #times = new IsoTimes()
  readonly #leaseTimes = new IsoTimes()
  #queue = ''
  #queueText = '""'

  /** @throws SluiceError store_corrupt */
  write(delivery: Delivery, queue: string, id: string): string {
    const { message } = delivery
    const { propsStart, payloadStart } = offsets(message)
    if (delivery.extra !== null || delivery.failedBefore || payloadStart > propsStart)
      return JSON.stringify(envelopeOf(delivery, queue, id))
    if (queue !== this.#queue) {
      this.#queue = queue
      this.#queueText = JSON.stringify(queue)
    }
    const { text, end } = this.#place(message, propsStart)
    const payload = message.subarray(payloadStart)
    const utf8 = isUtf8(payload)
    // Neither ids nor receipts nor base64 hold anything that JSON escapes.
    return `{"v":1,"id":"${id}","queue":${this.#queueText},"receipt":"${delivery.receipt}",${text},"qos":${
      message[1]! & 3
    },"retain":${(message[1]! & 4) !== 0},"time":"${this.#times.format(storedTime(message))}","encoding":${
      utf8 ? '"utf8"' : '"base64"'
    },"payload":${utf8 ? JSON.stringify(payload.toString()) : `"${payload.toString('base64')}"`},"attempt":${
      delivery.attempt
    },"leasedUntil":"${this.#leaseTimes.format(delivery.leasedUntil)}"${end}`
  }

  #place(message: Buffer, propsStart: number): Place {
    const key = message.toString('latin1', HEADER_BYTES, propsStart)
    const lengths = get32(message, 2)
    const known = this.#places.get(key)
    if (known !== undefined && known.lengths === lengths) return known
    const { topic, clientId, userName } = decodeMessage(message)
    const levels = JSON.stringify(topic.split('/'))
    const place = {
      lengths,
      text: `"topic":${JSON.stringify(topic)},"levels":${levels},"clientId":${JSON.stringify(clientId)}`,
      end: userName === undefined ? '}' : `,"userName":${JSON.stringify(userName)}}`,
    }
    if (propsStart - HEADER_BYTES > PLACE_BYTES_MAX) return place
    if (this.#places.size >= PLACES_MAX) this.#places.clear()
    this.#places.set(key, place)
    return place
  }
}
