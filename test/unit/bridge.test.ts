import { describe, expect, test } from 'vitest'
import { type Envelope, envelopeOf } from '../../src/bridge/envelope.ts'
import { EnvelopeWriter } from '../../src/bridge/envelope-json.ts'
import { JsonBytes } from '../../src/bridge/json-bytes.ts'
import { compileRules } from '../../src/bridge/rule.ts'
import { Delivery } from '../../src/queue/delivery.ts'
import { Entry, Lease } from '../../src/queue/entry.ts'
import { addFailure } from '../../src/queue/marks.ts'
import type { Stripe } from '../../src/queue/stripe.ts'
import { encodeTerms } from '../../src/queue/terms.ts'
import { encodeMessage, type Message, NO_EXPIRY } from '../../src/router/message.ts'
import { PacketType } from '../../src/wire/control.ts'
import { encodeProperties } from '../../src/wire/properties.ts'

describe('bridge rules', () => {
  const rules = compileRules([
    { topicFilter: 'devices/+/telemetry', queue: 'telemetry' },
    { topicFilter: 'devices/#', queue: 'archive' },
    { topicFilter: 'devices/d1/#', queue: 'telemetry' },
    { topicFilter: '#', queue: 'everything' },
    { topicFilter: '#', queue: 'everything' },
  ])

  test('a message enters a queue once, however many rules lead there', () => {
    expect(rules.queuesFor('devices/d1/telemetry')).toEqual(['telemetry', 'archive', 'everything'])
    expect(rules.queuesFor('devices')).toEqual(['archive', 'everything'])
    expect(rules.queuesFor('other')).toEqual(['everything'])
    expect(rules.queueNames).toEqual(['telemetry', 'archive', 'everything'])
    expect(rules.rules.length).toBe(4)
  })

  test('a rule that starts with a wildcard does not see $-topics [v5 MQTT-4.7.2-1]', () => {
    expect(rules.queuesFor('$SYS/broker/uptime')).toEqual([])
    expect(compileRules([{ topicFilter: '$SYS/#', queue: 's' }]).queuesFor('$SYS/broker/uptime')).toEqual(['s'])
  })

  test.each(['', 'a#', 'a/#/b', '+a', 'a\u0000', '$share/g/a', '$queue/a'])('%j is refused', (topicFilter) => {
    expect(() =>
      compileRules([
        { topicFilter: 'ok', queue: 'q' },
        { topicFilter, queue: 'q' },
      ]),
    ).toThrow(
      expect.objectContaining({ code: 'config_invalid', message: expect.stringContaining('bridge[1].topicFilter') }),
    )
  })
})

const writer = new EnvelopeWriter()
const stripe = { refOf: (seq: number) => seq } as Stripe

function envelope(message: Partial<Message>, entry = new Entry(7), extra: Buffer | null = null): Envelope {
  const stored = encodeMessage({
    topic: 'a/b',
    clientId: 'c',
    qos: 2,
    retain: true,
    time: Date.UTC(2026, 10, 20, 9, 30),
    properties: Buffer.alloc(0),
    payload: Buffer.from('x'),
    expirySeconds: NO_EXPIRY,
    ...message,
  })
  const lease = new Lease(0, Date.UTC(2026, 10, 20, 9, 31), 60_000)
  const delivery = new Delivery(stripe, entry, lease, 'abc', stored, 0, extra)
  const text = JSON.stringify(envelopeOf(delivery, 'q', 'epoch-7'))
  for (const room of [1, 10_000]) {
    const out = new JsonBytes(room)
    writer.write(delivery, 'q', 'epoch-7', out)
    expect(out.bytes.toString()).toBe(text)
  }
  return JSON.parse(text)
}

describe('the envelope', () => {
  test('has exactly these keys for a plain message', () => {
    const entry = new Entry(7)
    entry.attempt = 1
    expect(envelope({}, entry)).toEqual({
      v: 1,
      id: 'epoch-7',
      queue: 'q',
      receipt: '7-abc',
      topic: 'a/b',
      levels: ['a', 'b'],
      clientId: 'c',
      qos: 2,
      retain: true,
      time: '2026-11-20T09:30:00.000Z',
      encoding: 'utf8',
      payload: 'x',
      attempt: 1,
      leasedUntil: '2026-11-20T09:31:00.000Z',
    })
  })

  test('keeps apart publishers whose names run into one another', () => {
    const cases = [
      { clientId: 'ab', topic: 'c/d' },
      { clientId: 'a', topic: 'bc/d' },
      { clientId: 'a', userName: 'b', topic: 'c/d' },
      { clientId: 'ab', userName: '', topic: 'c/d' },
      { clientId: 'ä"', userName: '\u0001', topic: 'x\\/"' },
      { clientId: 'a', topic: 'x/'.repeat(600) },
    ]
    for (const one of [...cases, ...cases]) expect(envelope(one)).toMatchObject(one)
    expect(envelope({ clientId: 'ab', topic: 'c/d' })).not.toHaveProperty('userName')
  })

  test.each([
    ['', 'utf8', ''],
    ['{"ä":"\\u0000"}', 'utf8', '{"ä":"\\u0000"}'],
    ['\u0000"\u2028', 'utf8', '\u0000"\u2028'],
  ])('carries the text %j as it is', (payload, encoding, expected) => {
    expect(envelope({ payload: Buffer.from(payload) })).toMatchObject({ encoding, payload: expected })
  })

  test.each([[[0xff]], [[0xc3]], [[0xed, 0xa0, 0x80]], [[0xc0, 0xaf]]])(
    'carries bytes that are no UTF-8 as base64: %j',
    (bytes) => {
      const payload = Buffer.from(bytes)
      expect(envelope({ payload })).toMatchObject({ encoding: 'base64', payload: payload.toString('base64') })
    },
  )

  test('names user, empty levels and MQTT 5 properties', () => {
    const properties = encodeProperties(
      {
        payloadFormatIndicator: 1,
        messageExpiryInterval: 60,
        contentType: 'application/json',
        responseTopic: 'r',
        correlationData: Buffer.from([1, 2]),
        userProperties: [
          ['k', 'v'],
          ['k', 'w'],
        ],
      },
      PacketType.PUBLISH,
    ).subarray(1)
    expect(envelope({ topic: '/a//', userName: 'u', properties })).toMatchObject({
      levels: ['', 'a', '', ''],
      userName: 'u',
      properties: {
        payloadFormatIndicator: 1,
        messageExpiryInterval: 60,
        contentType: 'application/json',
        responseTopic: 'r',
        correlationData: 'AQI=',
        userProperties: [
          ['k', 'v'],
          ['k', 'w'],
        ],
      },
    })
  })

  test('of a dead letter keeps the id and lists the failures of both queues', () => {
    const entry = new Entry(3)
    entry.attempt = 2
    entry.history = addFailure(null, { at: Date.UTC(2026, 10, 21), attempt: 1, reason: 'here' })
    const at = Date.UTC(2026, 10, 20)
    const failures = [{ at, attempt: 1, reason: 'there' }]
    const extra = encodeTerms({ deadLetter: { queue: 'work', id: 'other-9', attempts: 1, at, failures } })
    expect(envelope({}, entry, extra)).toMatchObject({
      id: 'other-9',
      queue: 'q',
      attempt: 2,
      deadLetter: { queue: 'work', attempts: 1, at: '2026-11-20T00:00:00.000Z' },
      failures: [
        { at: '2026-11-20T00:00:00.000Z', attempt: 1, reason: 'there' },
        { at: '2026-11-21T00:00:00.000Z', attempt: 1, reason: 'here' },
      ],
    })
  })

  test('bytes that are no stored message are refused', () => {
    const lease = new Lease(0, 0, 0)
    const delivery = new Delivery(stripe, new Entry(1), lease, 'abc', Buffer.from('nonsense'), 0, null)
    expect(() => envelopeOf(delivery, 'q', 'id')).toThrow(expect.objectContaining({ code: 'store_corrupt' }))
  })
})
