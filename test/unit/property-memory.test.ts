import { describe, expect, test } from 'vitest'
import { encodePublish } from '../../src/wire/client-packets.ts'
import type { Properties } from '../../src/wire/properties.ts'
import { PropertyMemory } from '../../src/wire/property-memory.ts'
import { PublishFrame } from '../../src/wire/publish.ts'

function parse(memory: PropertyMemory | null, properties: Properties): PublishFrame {
  const packet = encodePublish(5, {
    topic: 'a/b',
    payload: Buffer.from('x'),
    qos: 0,
    retain: false,
    dup: false,
    properties,
  })
  const frame = new PublishFrame()
  frame.parse(packet, 0, 2, packet.length, true, memory)
  return frame
}

describe('properties that are remembered', () => {
  test('give the same reading as those that are checked anew', () => {
    const memory = new PropertyMemory()
    const cases = [
      { userProperties: [['a', '1']] as [string, string][] },
      { messageExpiryInterval: 60, userProperties: [['a', '1']] as [string, string][] },
      { payloadFormatIndicator: 1 as const },
      { contentType: 'text/plain' },
    ]
    for (const properties of [...cases, ...cases])
      for (const again of [0, 1]) {
        const remembered = parse(memory, properties)
        const fresh = parse(null, properties)
        const facts = ({
          expirySeconds,
          expiryOffset,
          payloadFormat,
          propsStart,
          propsEnd,
          payloadStart,
        }: PublishFrame) => ({ expirySeconds, expiryOffset, payloadFormat, propsStart, propsEnd, payloadStart })
        expect(facts(remembered), `reading ${again}`).toEqual(facts(fresh))
        const { propsBuf, propsStart, propsEnd } = remembered
        expect(memory.find(propsBuf, propsStart - 1, propsEnd)).not.toBeNull()
      }
  })

  test('do not include a Topic Alias, which belongs to one packet [v5 MQTT-3.3.2-10]', () => {
    const memory = new PropertyMemory()
    const properties = { topicAlias: 3, userProperties: [['a', '1']] as [string, string][] }
    expect(parse(memory, properties).topicAlias).toBe(3)
    expect(parse(memory, properties).topicAlias).toBe(3)
  })

  test('do not let wrong ones pass that differ in a byte', () => {
    const memory = new PropertyMemory()
    parse(memory, { userProperties: [['ab', '1']] })
    const packet = encodePublish(5, {
      topic: 'a/b',
      payload: Buffer.alloc(0),
      qos: 0,
      retain: false,
      dup: false,
      properties: { userProperties: [['ab', '1']] },
    })
    packet[packet.length - 1] = 0
    expect(() => new PublishFrame().parse(packet, 0, 2, packet.length, true, memory)).toThrow()
  })

  test('of several kinds are all known, and new ones that never repeat do not drive them out', () => {
    const memory = new PropertyMemory()
    const kind = (name: string): Properties => ({ userProperties: [['kind', name]] })
    const knows = (name: string): boolean => {
      const { propsBuf, propsStart, propsEnd } = parse(null, kind(name))
      return memory.find(propsBuf, propsStart - 1, propsEnd) !== null
    }
    for (const name of ['a', 'b', 'c']) parse(memory, kind(name))
    expect(['a', 'b', 'c'].map(knows)).toEqual([true, true, true])
    for (let i = 0; i < 10; i++) parse(memory, kind(`new ${i}`))
    expect(['b', 'c'].map(knows)).toEqual([true, true])
  })
})
