/** Records as they stand in Redis: subscriptions and retained messages as aedes-persistence-redis writes them, with ours beside. */
import type { SubscriptionRecord, WillRecord } from '../../store.ts'
import type { MessageCodec } from './message-codec.ts'
import { type Packed, packRecord, unpack } from './msgpack.ts'

type Fields = { [key: string]: Packed }

export function packSubscription(record: SubscriptionRecord): Buffer {
  return packRecord({
    topic: record.topicFilter,
    qos: record.qos,
    rh: record.retainHandling,
    rap: record.retainAsPublished,
    nl: record.noLocal,
    sid: record.subscriptionIdentifier === 0 ? undefined : record.subscriptionIdentifier,
  })
}

export function unpackSubscription(topicFilter: string, value: Buffer): SubscriptionRecord {
  // Old versions keep the QoS as one digit.
  const fields: Fields = value.length === 1 && value[0]! >= 0x30 ? { qos: value[0]! - 0x30 } : (unpack(value) as Fields)
  return {
    topicFilter,
    qos: qos(fields.qos),
    noLocal: fields.nl === true,
    retainAsPublished: fields.rap === true,
    retainHandling: qos(fields.rh),
    subscriptionIdentifier: typeof fields.sid === 'number' ? fields.sid : 0,
  }
}

const qos = (value: Packed | undefined): 0 | 1 | 2 => (value === 1 || value === 2 ? value : 0)

export function packRetained(topic: string, message: Buffer, codec: MessageCodec | null): Buffer {
  const parts = codec?.parts(message) ?? null
  const payloadStart = parts?.payloadStart ?? 0
  return packRecord({
    cmd: 'publish',
    brokerId: 'sluicemq',
    brokerCounter: 0,
    topic,
    payload: message.subarray(payloadStart),
    qos: parts?.qos ?? 0,
    retain: true,
    dup: false,
    sluicemq: message.subarray(0, payloadStart),
  })
}

/** Null: not a message. */
export function unpackRetained(topic: string, value: Buffer, codec: MessageCodec | null, now: number): Buffer | null {
  const fields = unpack(value) as Fields | null
  if (Buffer.isBuffer(fields?.sluicemq) && Buffer.isBuffer(fields.payload))
    return Buffer.concat([fields.sluicemq, fields.payload])
  return fields === null ? null : foreignMessage({ ...fields, topic }, codec, now, true)
}

/** The stored form of a packet that stock Aedes kept. */
export function foreignMessage(
  fields: Fields,
  codec: MessageCodec | null,
  now: number,
  retain: boolean,
): Buffer | null {
  const { topic, payload } = fields
  if (codec === null || typeof topic !== 'string') return null
  return codec.encode({
    topic,
    clientId: typeof fields.clientId === 'string' ? fields.clientId : '',
    qos: qos(fields.qos),
    retain,
    time: now,
    payload: Buffer.isBuffer(payload) ? payload : Buffer.from(typeof payload === 'string' ? payload : ''),
  })
}

/** A will: u32 length of the JSON facts, the facts, the message. */
export function packWill({ message, ...facts }: WillRecord): Buffer {
  const json = Buffer.from(JSON.stringify(facts))
  const length = Buffer.alloc(4)
  length.writeUInt32BE(json.length)
  return Buffer.concat([length, json, message])
}

export function unpackWill(value: Buffer): WillRecord {
  const end = 4 + value.readUInt32BE(0)
  const facts = JSON.parse(value.toString('utf8', 4, end)) as Omit<WillRecord, 'message'>
  return { ...facts, message: value.subarray(end) }
}
