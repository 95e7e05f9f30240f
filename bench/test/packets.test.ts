import mqttPacket, { type Packet } from 'mqtt-packet'
import { describe, expect, test } from 'vitest'
import { connackReceiveMaximum, connectPacket, publishBlock, subscribePacket, type Version } from '../load/packets.ts'

/** What an independent parser makes of the bytes. */
function parse(bytes: Buffer, version: Version): Packet[] {
  const packets: Packet[] = []
  const parser = mqttPacket.parser({ protocolVersion: version })
  parser.on('packet', (packet) => packets.push(packet))
  parser.on('error', (error) => {
    throw error
  })
  parser.parse(bytes)
  return packets
}

describe.each([4, 5] as const)('packets of protocol level %i', (version) => {
  test('CONNECT carries the client id, Clean Session and Keep Alive', () => {
    const [packet] = parse(
      connectPacket({ clientId: 'bench-p-0', version, clean: true, receiveMaximum: 0, keepAliveSeconds: 300 }),
      version,
    )
    expect(packet).toMatchObject({ cmd: 'connect', clientId: 'bench-p-0', clean: true, keepalive: 300 })
    expect(packet).toMatchObject({ protocolId: 'MQTT', protocolVersion: version })
  })

  test('CONNECT that keeps its session never lets it expire', () => {
    const [packet] = parse(
      connectPacket({ clientId: 's', version, clean: false, receiveMaximum: 20, keepAliveSeconds: 0 }),
      version,
    )
    expect(packet).toMatchObject({ cmd: 'connect', clean: false })
    if (version === 5) {
      expect(packet).toMatchObject({ properties: { sessionExpiryInterval: 0xffff_ffff, receiveMaximum: 20 } })
    }
  })

  test('SUBSCRIBE asks for every filter', () => {
    const [packet] = parse(subscribePacket(1, ['b/+', 'c/#'], 1, version), version)
    const subscriptions = [
      { topic: 'b/+', qos: 1 },
      { topic: 'c/#', qos: 1 },
    ]
    expect(packet).toMatchObject({ cmd: 'subscribe', messageId: 1, subscriptions })
  })

  test.each([0, 1, 2] as const)('a QoS %i block holds whole frames, topics in turn, offsets as told', (qos) => {
    const topics = ['b/dev0/one', 'b/dev0/two']
    const block = publishBlock({ topics, payloadBytes: 16, qos, version, userProperties: 0, blockBytes: 1000 })
    expect(block.bytes.length).toBe(block.count * block.frameBytes)
    expect(block.bytes.length).toBeGreaterThan(900)
    for (let i = 0; i < block.count; i++) {
      const frame = i * block.frameBytes
      if (qos > 0) block.bytes.writeUInt16BE(i + 1, frame + block.packetIdOffset)
      block.bytes.write(`#${i}`.padEnd(16), frame + block.payloadOffset)
    }
    const packets = parse(block.bytes, version)
    expect(packets).toHaveLength(block.count)
    packets.forEach((packet, i) => {
      expect(packet).toMatchObject({ cmd: 'publish', qos, topic: topics[i % 2] })
      if (qos > 0) expect(packet.messageId).toBe(i + 1)
      expect(String((packet as { payload: Buffer }).payload)).toBe(`#${i}`.padEnd(16))
    })
  })
})

test.each([0, 1] as const)('QoS %i: User Properties stand before the payload [v5 3.3.2.3.7]', (qos) => {
  const block = publishBlock({ topics: ['a'], payloadBytes: 9, qos, version: 5, userProperties: 3, blockBytes: 1 })
  if (qos > 0) block.bytes.writeUInt16BE(77, block.packetIdOffset)
  block.bytes.write('123456789', block.payloadOffset)
  const [packet] = parse(block.bytes, 5)
  const userProperties = { 'name-0': 'the value no 0', 'name-1': 'the value no 1', 'name-2': 'the value no 2' }
  expect(packet).toMatchObject({ topic: 'a', qos, properties: { userProperties } })
  if (qos > 0) expect(packet).toMatchObject({ messageId: 77 })
  expect(String((packet as { payload: Buffer }).payload)).toBe('123456789')
})

test('a block larger than asked for holds one frame of each topic', () => {
  const block = publishBlock({
    topics: ['a', 'b'],
    payloadBytes: 5000,
    qos: 0,
    version: 4,
    userProperties: 0,
    blockBytes: 100,
  })
  expect(block.count).toBe(2)
})

test('topics of different length cannot share a block', () => {
  const options = {
    topics: ['a', 'bb'],
    payloadBytes: 1,
    qos: 0,
    version: 4,
    userProperties: 0,
    blockBytes: 100,
  } as const
  expect(() => publishBlock(options)).toThrow(RangeError)
})

describe('Receive Maximum of CONNACK [v5 3.2.2.3.3]', () => {
  const body = (properties: object): Buffer => {
    const packet = { cmd: 'connack', returnCode: 0, reasonCode: 0, sessionPresent: false, properties } as const
    return mqttPacket.generate(packet as never, { protocolVersion: 5 })
  }
  test('is read from among other properties', () => {
    const all = {
      sessionExpiryInterval: 5,
      assignedClientIdentifier: 'given',
      userProperties: { name: 'value' },
      retainAvailable: true,
      receiveMaximum: 77,
    }
    const bytes = body(all)
    expect(connackReceiveMaximum(bytes, 2, bytes.length)).toBe(77)
  })
  test('is 65,535 when absent', () => {
    const bytes = body({ topicAliasMaximum: 3, reasonString: 'x' })
    expect(connackReceiveMaximum(bytes, 2, bytes.length)).toBe(65_535)
    expect(connackReceiveMaximum(Buffer.from([0x20, 3, 0, 0, 0]), 2, 5)).toBe(65_535)
  })
})
