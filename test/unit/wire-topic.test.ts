import { describe, expect, it } from 'vitest'
import { SluiceError } from '../../src/errors.ts'
import {
  checkTopicName,
  countLevelBytes,
  countLevels,
  isPlainFilter,
  isShared,
  isTopicFilter,
  isTopicName,
  matches,
  parseShare,
  splitLevels,
} from '../../src/wire/topic.ts'

function topicNameError(topic: string | Buffer): string | undefined {
  const bytes = Buffer.concat([Buffer.from('#\0'), Buffer.from(topic), Buffer.from('+\xff', 'latin1')])
  try {
    checkTopicName(bytes, 2, bytes.length - 2)
    return undefined
  } catch (error) {
    if (error instanceof SluiceError) return error.code
    throw error
  }
}

describe('Topic Names', () => {
  it.each(['a', '/', '//', 'a/b c', '$SYS/x', 'дом', 'a/😀', '\ufeff', '$', '!"$%&()*,-.'])('accepts %s', (topic) => {
    expect(topicNameError(topic)).toBeUndefined()
    expect(isTopicName(topic)).toBe(true)
  })

  it.each(['#', '+', 'a/#', 'a/+/b', 'a+', 'é/#', 'é+'])('refuses the wildcard in %s [v5 MQTT-3.3.2-2]', (topic) => {
    expect(topicNameError(topic)).toBe('topic_name_invalid')
    expect(isTopicName(topic)).toBe(false)
  })

  it('refuses the empty name [v5 MQTT-4.7.3-1] [v3 MQTT-4.7.3-1]', () => {
    expect(topicNameError('')).toBe('topic_name_invalid')
    expect(isTopicName('')).toBe(false)
  })

  it.each<[string | Buffer, string]>([
    ['a\0', 'U+0000'],
    [Buffer.from([0x61, 0xed, 0xa0, 0x80]), 'a surrogate'],
    [Buffer.from([0x61, 0xff]), '0xFF'],
    [Buffer.from([0x23, 0xff]), 'a wildcard before 0xFF'],
    [Buffer.from([0xff, 0x23]), 'a wildcard after 0xFF'],
    [Buffer.from([0x2b, 0x00]), 'a wildcard before U+0000'],
  ])('refuses ill-formed strings as malformed: %j, %s [v5 MQTT-1.5.4-1, -2]', (topic, _why) => {
    expect(topicNameError(topic)).toBe('malformed_packet')
  })

  it('isTopicName refuses lone surrogates, U+0000 and more than 65,535 bytes [v5 MQTT-4.7.3-2, -3]', () => {
    for (const topic of ['\ud800', 'a\0b', 'x'.repeat(65536)]) expect(isTopicName(topic)).toBe(false)
    expect(isTopicName('x'.repeat(65535))).toBe(true)
  })
})

describe('Topic Filters', () => {
  it.each([
    ...['a', '/', '#', '+', '+/+', '/#', '+/#', 'a/#', '/+', 'a/+/b', '+/a/+/#', '$SYS/#', '$share', '$sharename/+'],
    ...['sport/tennis/player1/#', 'a b/ /c', '😀/+'],
  ])('accepts %s', (filter) => {
    expect(isTopicFilter(filter)).toBe(true)
    expect(isPlainFilter(filter)).toBe(true)
  })

  it.each([...['a#', '#a', 'a/#/b', 'a/b#', '#/', '##', 'a/##']])(
    'refuses %s: # stands alone in the last level [v5 MQTT-4.7.1-1] [v3 MQTT-4.7.1-2]',
    (filter) => {
      expect(isTopicFilter(filter)).toBe(false)
      expect(isPlainFilter(filter)).toBe(false)
    },
  )

  it.each([...['a+', '+a', 'a/+b', 'a/b+/c', '++', '+a/#', '+#', '#+']])(
    'refuses %s: + stands alone in its level [v5 MQTT-4.7.1-2] [v3 MQTT-4.7.1-3]',
    (filter) => {
      expect(isTopicFilter(filter)).toBe(false)
    },
  )

  it('refuses the empty filter and what is no MQTT string [v5 MQTT-4.7.3-1, -2, -3]', () => {
    for (const filter of ['', 'a\0', '\udfff', 'x'.repeat(65536)]) expect(isTopicFilter(filter)).toBe(false)
    expect(isTopicFilter('x'.repeat(65535))).toBe(true)
  })
})

describe('Shared Subscriptions', () => {
  it.each([
    ['$share/g/a', 'g', 'a'],
    ['$share/g//', 'g', '/'],
    ['$share/g/#', 'g', '#'],
    ['$share/a b/+/c/#', 'a b', '+/c/#'],
    ['$share/g/$SYS/#', 'g', '$SYS/#'],
    ['$share/$share/$share/g/a', '$share', '$share/g/a'],
  ])('%s: ShareName %s, filter %s [v5 4.8.2]', (filter, shareName, topicFilter) => {
    expect(parseShare(filter)).toEqual({ shareName, topicFilter })
    expect(isTopicFilter(filter)).toBe(true)
    expect(isShared(filter)).toBe(true)
  })

  it.each([...['$share//a', '$share/g+/a', '$share/+/a', '$share/#/a', '$share/g#/a']])(
    'refuses %s: ShareName of one character or more, none of / + # [v5 MQTT-4.8.2-1]',
    (filter) => {
      expect(parseShare(filter)).toBeNull()
      expect(isTopicFilter(filter)).toBe(false)
      expect(isShared(filter)).toBe(true)
    },
  )

  it.each([...['$share/', '$share/g', '$share/g/', '$share/g/a#', '$share/g/a/#/b', '$share/g/+a']])(
    'refuses %s: a / and a valid Topic Filter follow [v5 MQTT-4.8.2-2]',
    (filter) => {
      expect(parseShare(filter)).toBeNull()
      expect(isTopicFilter(filter)).toBe(false)
    },
  )

  it.each(['$share', '$shared/g/a', 'share/g/a', '/$share/g/a', '$SHARE/g/a'])('%s is not shared', (filter) => {
    expect(isShared(filter)).toBe(false)
    expect(parseShare(filter)).toBeNull()
    expect(isTopicFilter(filter)).toBe(true)
  })
})

describe('matches', () => {
  /** The examples of v5 and v3 section 4.7 first. */
  const table: [string, string[], string[]][] = [
    ['sport/tennis/player1/#', ['', '/ranking', '/score/wimbledon'].map((s) => `sport/tennis/player1${s}`), ['sport']],
    ['sport/#', ['sport', 'sport/', 'sport/a/b'], ['sports', 'spor', 'Sport', '/sport']],
    ['#', ['a', '/', 'a/b', '/a'], ['$SYS', '$SYS/a', '$']],
    ['sport/tennis/+', ['sport/tennis/player1', 'sport/tennis/'], ['sport/tennis', 'sport/tennis/player1/ranking']],
    ['sport/+', ['sport/', 'sport/a'], ['sport', 'sport/a/b', 'sport/a/']],
    ['+', ['a', 'finance'], ['/finance', 'a/', '/', '$a']],
    ['+/+', ['/finance', '/', 'a/b', 'a/'], ['a', 'a/b/c', '$SYS/a', '//']],
    ['/+', ['/finance', '/'], ['finance', '//', '/a/b']],
    ['+/#', ['a', 'a/b', '/', '/a/b'], ['$SYS/a', '$a']],
    ['+/tennis/#', ['a/tennis', 'a/tennis/b', '/tennis'], ['tennis', 'a/b/tennis']],
    ['+/monitor/Clients', ['a/monitor/Clients'], ['$SYS/monitor/Clients']],
    ['$SYS/#', ['$SYS', '$SYS/', '$SYS/a/b'], ['SYS', '$SYSTEM', '$sys/a']],
    ['$SYS/monitor/+', ['$SYS/monitor/Clients'], ['$SYS/monitor', '$SYS/monitor/a/b']],
    ['a//b', ['a//b'], ['a/b', 'a/x/b', 'a///b']],
    ['a/+/b', ['a//b', 'a/x/b', 'a/$x/b'], ['a/b', 'a/x/c', 'a/x/b/']],
    ['/', ['/'], ['', 'a/', '/a', '//']],
    ['ACCOUNTS', ['ACCOUNTS'], ['Accounts', 'ACCOUNT', 'ACCOUNTS/']],
    ['a/b', ['a/b'], ['a', 'a/', 'a/bc', 'a/b/c', 'a/b/', 'b/a/b']],
    ['a/b/#', ['a/b', 'a/b/', 'a/b/c'], ['a', 'a/', 'a/bc', 'a/c/b']],
    ['é/+', ['é/ü'], ['e/ü', 'é']],
  ]
  it.each(table)('%s [v5 4.7.1, MQTT-4.7.2-1, 4.7.3]', (filter, yes, no) => {
    for (const topic of yes) expect([filter, topic, matches(filter, topic)]).toEqual([filter, topic, true])
    for (const topic of no) expect([filter, topic, matches(filter, topic)]).toEqual([filter, topic, false])
  })
})

describe('levels', () => {
  it.each([
    ['a', 1],
    ['', 1],
    ['/', 2],
    ['a/b', 2],
    ['/a//b/', 5],
  ])('%s has %i', (topic, count) => {
    expect(splitLevels(topic)).toHaveLength(count)
    expect(countLevels(topic)).toBe(count)
    const bytes = Buffer.from(`/${topic}/`)
    expect(countLevelBytes(bytes, 1, bytes.length - 1)).toBe(count)
  })
})
