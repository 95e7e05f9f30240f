import fc from 'fast-check'
import type { ConnectFields, PublishPacket, SubscriptionFields } from '../../src/wire/client-packets.ts'
import { PacketType } from '../../src/wire/control.ts'
import { type Properties, propertyTable, WILL_PROPERTIES } from '../../src/wire/property-table.ts'
import { isReasonCodeFor } from '../../src/wire/reason-codes.ts'
import type { ProtocolVersion, Qos } from '../../src/wire/versions.ts'

/** Arbitrary valid packets, as the objects our encoders take and our decoders give. */

/** Well-formed text without U+0000, from one to four bytes a character. */
export const text = fc
  .array(
    fc.oneof(
      fc.constantFrom('a', 'b', '/', ' ', '$', 'é', '€', '😀', '\ufeff', '\u0001'),
      fc.string({ unit: 'binary' }),
    ),
    {
      maxLength: 8,
    },
  )
  .map((parts) => parts.join('').replaceAll('\0', ''))

export const topic = text.map((one) => one.replace(/[+#]/g, '') || 't')

export const topicFilter = fc
  .tuple(fc.array(fc.oneof(fc.constant('+'), topic), { minLength: 1, maxLength: 4 }), fc.boolean(), fc.boolean())
  .map(([levels, rest, shared]) => (shared ? '$share/g/' : '') + levels.concat(rest ? ['#'] : []).join('/'))
  .map((filter) => (filter.startsWith('$share/') && !filter.startsWith('$share/g/') ? 'x' : filter))

export const bytes = fc.uint8Array({ maxLength: 40 }).map((one) => Buffer.from(one))
export const packetId = fc.integer({ min: 1, max: 65535 })
export const version = fc.constantFrom<ProtocolVersion>(3, 4, 5)
const qos = fc.constantFrom<Qos>(0, 1, 2)

const value: Record<string, fc.Arbitrary<unknown>> = {
  bit: fc.constantFrom(0, 1),
  flag: fc.boolean(),
  uint16: fc.integer({ min: 1, max: 0xffff }),
  uint32: fc.oneof(fc.constantFrom(1, 0x7fffffff, 0x80000000, 0xffffffff), fc.integer({ min: 1, max: 0xffffffff })),
  varint: fc.oneof(fc.constantFrom(1, 127, 128, 16384, 268435455), fc.integer({ min: 1, max: 268435455 })),
  string: text,
  binary: bytes,
  pair: fc.tuple(text, text),
}

/** Any properties this packet may carry; `without` leaves some out. */
export function properties(packetType: number, without: (keyof Properties)[] = []): fc.Arbitrary<Properties> {
  const model: Record<string, fc.Arbitrary<unknown>> = {}
  for (const row of propertyTable) {
    if ((row.packets & (1 << packetType)) === 0 || without.includes(row.name)) continue
    const repeats = (row.repeats & (1 << packetType)) !== 0
    const one = row.name === 'responseTopic' ? topic : value[row.type]!
    const list = row.type === 'pair' || row.type === 'varint'
    model[row.name] = list ? fc.array(one, { minLength: 1, maxLength: repeats ? 3 : 1 }) : one
  }
  return fc.record(model, { requiredKeys: [] }) as fc.Arbitrary<Properties>
}

/** Valid CONNECT packets of the version, complete, as `decodeConnect` gives them. */
export function connect(of: ProtocolVersion): fc.Arbitrary<ConnectFields> {
  const will = fc.record({
    topic,
    payload: bytes,
    qos,
    retain: fc.boolean(),
    properties: of === 5 ? properties(WILL_PROPERTIES) : fc.constant(null),
  })
  return fc
    .record(
      {
        clean: fc.boolean(),
        clientId: of === 5 ? text : text.map((one) => one || 'c'),
        keepAliveSeconds: fc.integer({ min: 0, max: 65535 }),
        will: fc.option(will),
        userName: text,
        password: bytes,
        bridge: of === 5 ? fc.constant(false) : fc.boolean(),
        properties: of === 5 ? properties(PacketType.CONNECT) : fc.constant(null),
      },
      { requiredKeys: ['clean', 'clientId', 'keepAliveSeconds', 'will', 'bridge', 'properties'] },
    )
    .map((fields) => {
      const packet: ConnectFields = { version: of, ...fields }
      if (of < 5 && packet.userName === undefined) delete packet.password
      if (packet.properties?.authenticationMethod === undefined) delete packet.properties?.authenticationData
      return packet
    })
}

export function publish(of: ProtocolVersion, without: (keyof Properties)[] = []): fc.Arbitrary<PublishPacket> {
  return fc
    .record({
      topic,
      payload: bytes,
      qos,
      retain: fc.boolean(),
      dup: fc.boolean(),
      packetId,
      properties: of === 5 ? properties(PacketType.PUBLISH, without) : fc.constant(null),
    })
    .map((packet) => (packet.qos === 0 ? { ...packet, dup: false, packetId: 0 } : packet))
}

export function subscriptions(of: ProtocolVersion): fc.Arbitrary<Required<SubscriptionFields>[]> {
  const one = fc
    .record({
      topicFilter,
      qos,
      noLocal: of === 5 ? fc.boolean() : fc.constant(false),
      retainAsPublished: of === 5 ? fc.boolean() : fc.constant(false),
      retainHandling: of === 5 ? fc.constantFrom<0 | 1 | 2>(0, 1, 2) : fc.constant<0>(0),
    })
    .map((fields) => (fields.topicFilter.startsWith('$share/') ? { ...fields, noLocal: false } : fields))
  return fc.array(one, { minLength: 1, maxLength: 5 })
}

/** A reason code this packet may carry. */
export function reasonCode(type: PacketType, sender?: 'client' | 'server'): fc.Arbitrary<number> {
  const codes = Array.from({ length: 256 }, (_, code) => code)
  return fc.constantFrom(...codes.filter((code) => isReasonCodeFor(type, code, sender)))
}
