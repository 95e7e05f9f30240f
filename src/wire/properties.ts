import { SluiceError } from '../errors.ts'
import { BodyReader } from './body-reader.ts'
import { BodyWriter } from './body-writer.ts'
import { packetName } from './control.ts'
import { malformed, protocolError } from './malformed.ts'
import { type Properties, type PropertyEntry, propertyTable, WILL_PROPERTIES } from './property-table.ts'
import { isTopicName } from './topic.ts'

export { type Properties, WILL_PROPERTIES } from './property-table.ts'
export { PublishScan, scanPublishProperties } from './publish-scan.ts'

const byId: (PropertyEntry | undefined)[] = []
for (const row of propertyTable) byId[row.id] = row

type Value = number | boolean | string | Buffer | [string, string]

/**
 * Reads the Property Length at `pos` and the properties after it.
 *
 * @param packetType the packet's type, or `WILL_PROPERTIES`
 * @returns the properties, and the offset of the field after them
 * @throws SluiceError malformed_packet: a length that is wrong, an identifier that is unknown or not allowed in this packet, a string
 *   that is not UTF-8 (v5 section 2.2.2.2); protocol_error: a property given twice, or a value that is not allowed;
 *   topic_alias_invalid: a Topic Alias of 0 [v5 MQTT-3.3.2-8]
 */
export function decodeProperties(
  buf: Buffer,
  pos: number,
  end: number,
  packetType: number,
): { properties: Properties; end: number } {
  const packet = packetType === WILL_PROPERTIES ? 'CONNECT: Will' : packetName(packetType)
  const outer = new BodyReader(buf, pos, end, packet)
  const length = outer.varint('Property Length')
  if (length > outer.left) throw malformed(`${packet}: Property Length reaches beyond the packet`)
  const reader = new BodyReader(buf, outer.pos, outer.pos + length, packet)
  const found: Record<string, unknown> = {}
  while (reader.left > 0) {
    const id = reader.varint('property identifier')
    const row = byId[id]
    if (row === undefined || (row.packets & (1 << packetType)) === 0) {
      throw malformed(`${packet}: ${row?.name ?? `property 0x${id.toString(16)}`} is not allowed here`)
    }
    const value = readValue(reader, row)
    if (row.type === 'pair' || row.type === 'varint') {
      const list = (found[row.name] ?? []) as Value[]
      if (list.length > 0 && (row.repeats & (1 << packetType)) === 0) throw twice(packet, row)
      list.push(value)
      found[row.name] = list
    } else {
      if (found[row.name] !== undefined) throw twice(packet, row)
      found[row.name] = value
    }
  }
  // Every name and value type comes from the table, which mirrors the interface.
  return { properties: found as Properties, end: reader.end }
}

function twice(packet: string, row: PropertyEntry): SluiceError {
  return protocolError(`${packet}: ${row.name} is given twice`)
}

function readValue(reader: BodyReader, row: PropertyEntry): Value {
  switch (row.type) {
    case 'bit':
    case 'flag': {
      const byte = reader.uint8(row.name)
      if (byte > 1) throw protocolError(`${reader.packet}: ${row.name} is ${byte}, not 0 or 1`)
      return row.type === 'bit' ? byte : byte === 1
    }
    case 'uint16':
      return nonZero(reader, row, reader.uint16(row.name))
    case 'uint32':
      return nonZero(reader, row, reader.uint32(row.name))
    case 'varint':
      return nonZero(reader, row, reader.varint(row.name))
    case 'string': {
      const text = reader.string(row.name)
      // [v5 MQTT-3.3.2-14], for a will too: section 3.1.3.2.6.
      if (row.name === 'responseTopic' && !isTopicName(text)) {
        throw protocolError(`${reader.packet}: responseTopic is empty or contains a wildcard`)
      }
      return text
    }
    case 'binary':
      return reader.binary(row.name)
    case 'pair':
      return [reader.string('user property name'), reader.string('user property value')]
  }
}

function nonZero(reader: BodyReader, row: PropertyEntry, value: number): number {
  if (value !== 0 || !row.nonZero) return value
  const message = `${reader.packet}: ${row.name} is 0`
  throw row.name === 'topicAlias' ? new SluiceError('topic_alias_invalid', message) : protocolError(message)
}

/**
 * The Property Length and the properties, in the order of the table. Null is written as no properties.
 *
 * @throws SluiceError invariant when a property does not belong into this packet or its value does not fit
 */
export function encodeProperties(properties: Properties | null | undefined, packetType: number): Buffer {
  const writer = new BodyWriter()
  writeProperties(writer, properties, packetType)
  return writer.body()
}

/** `encodeProperties` into a packet being written. */
export function writeProperties(
  writer: BodyWriter,
  properties: Properties | null | undefined,
  packetType: number,
): void {
  if (properties === null || properties === undefined) {
    writer.uint8(0)
    return
  }
  const section = new BodyWriter()
  for (const row of propertyTable) {
    const value: unknown = properties[row.name]
    if (value === undefined) continue
    if ((row.packets & (1 << packetType)) === 0) {
      throw new SluiceError('invariant', `${packetName(packetType)}: ${row.name} does not belong here`)
    }
    const values = row.type === 'pair' || row.type === 'varint' ? (value as Value[]) : [value as Value]
    for (const one of values) writeValue(section.uint8(row.id), row, one)
  }
  writer.varint(section.length).bytes(section.body())
}

function writeValue(writer: BodyWriter, row: PropertyEntry, value: Value): void {
  switch (row.type) {
    case 'bit':
    case 'flag':
      writer.uint8(Number(value))
      break
    case 'uint16':
      writer.uint16(value as number)
      break
    case 'uint32':
      writer.uint32(value as number)
      break
    case 'varint':
      writer.varint(value as number)
      break
    case 'string':
      writer.string(value as string)
      break
    case 'binary':
      writer.binary(value as Buffer)
      break
    case 'pair': {
      const [name, text] = value as [string, string]
      writer.string(name).string(text)
    }
  }
}
