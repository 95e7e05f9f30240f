/** What stores that lay messages out for other programs have to know of their stored form. */
import { encodeMessage, FORMAT, HEADER_BYTES, NO_EXPIRY, offsets, storedClientId, storedTime } from './message.ts'

interface Parts {
  topic: string
  clientId: string
  qos: 0 | 1 | 2
  retain: boolean
  time: number
  payloadStart: number
}

/** Null: the bytes are no stored message. */
function parts(message: Buffer): Parts | null {
  if (message.length < HEADER_BYTES || message[0] !== FORMAT) return null
  try {
    const { topicStart, propsStart, payloadStart } = offsets(message)
    return {
      topic: message.toString('utf8', topicStart, propsStart),
      clientId: storedClientId(message),
      qos: (message[1]! & 3) as 0 | 1 | 2,
      retain: (message[1]! & 4) !== 0,
      time: storedTime(message),
      payloadStart,
    }
  } catch {
    return null
  }
}

const NO_PROPERTIES = Buffer.alloc(0)

export const messageCodec = {
  parts,
  /** A message that another program left, which knew nothing of MQTT 5. */
  encode: (message: Omit<Parts, 'payloadStart'> & { payload: Buffer }): Buffer =>
    encodeMessage({ ...message, properties: NO_PROPERTIES, expirySeconds: NO_EXPIRY }),
}
