import { isUtf8 } from 'node:buffer'
import { envelopeProperties } from '../bridge/properties.ts'
import type { DoorFields } from '../door.ts'
import type { Delivery } from '../queue/delivery.ts'
import { HEADER_BYTES, offsets, storedClientIdBytes, storedTime } from '../router/message.ts'

/**
 * What a worker outside finds of a message: names and values in turn. Always there, in this order: `topic`, `clientId` (of
 * the publisher), `qos`, `time` (ms since 1970), `payload` (the bytes as they are), `id` (the same for every delivery), `attempt`
 * (1 = first), `leaseMs` (from the moment it is taken) and `receipt`; and those that apply of `key`, `properties` (JSON, as
 * in the HTTP envelope), `failures` (JSON, oldest first), `deadLetter` (JSON), `rule` and `note`.
 * @throws SluiceError store_corrupt, malformed_packet
 */
export function fieldsOf(delivery: Delivery, leaseMs: number): DoorFields {
  const { message, receipt, attempt } = delivery
  const { topicStart, propsStart, payloadStart } = offsets(message)
  const { terms } = delivery
  const letter = terms.deadLetter
  const fields: (string | Buffer)[] = [
    'topic',
    message.subarray(topicStart, propsStart),
    'clientId',
    message.subarray(HEADER_BYTES, HEADER_BYTES + storedClientIdBytes(message)),
    'qos',
    String(message[1]! & 3),
    'time',
    String(storedTime(message)),
    'payload',
    message.subarray(payloadStart),
    'id',
    letter?.id ?? delivery.id,
    'attempt',
    String(attempt),
    'leaseMs',
    String(leaseMs),
    'receipt',
    receipt,
  ]
  if (terms.key !== undefined)
    fields.push('key', isUtf8(terms.key) ? terms.key : `base64:${terms.key.toString('base64')}`)
  if (payloadStart > propsStart)
    fields.push('properties', JSON.stringify(envelopeProperties(message.subarray(propsStart, payloadStart))))
  const failures = [...(letter?.failures ?? []), ...(delivery.failedBefore ? delivery.failures : [])]
  if (failures.length > 0) fields.push('failures', JSON.stringify(failures))
  if (letter !== undefined) {
    const { queue, attempts, at } = letter
    fields.push('deadLetter', JSON.stringify({ queue, attempts, at }))
  }
  if (terms.rule !== undefined) fields.push('rule', terms.rule)
  if (terms.note !== undefined) fields.push('note', terms.note)
  return fields
}
