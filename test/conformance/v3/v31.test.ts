/** MQTT 3.1 where it differs from 3.1.1. Its specification does not number its statements. */
import { expect, test } from 'vitest'
import { field, frame, u16 } from '../../support/raw-packets.ts'
import { brokerUnderTest } from '../table/subject.ts'

const subject = brokerUnderTest()

test('MQIsdp with level 3 is served, with another level it gets return code 1', async () => {
  await subject.connect(3, { clientId: 'isdp' })
  const wrong = frame(1, 0, field('MQIsdp'), Buffer.from([4, 2]), u16(0), field('c'))
  expect(await subject.refused(wrong)).toEqual({ code: 1 })
})
test('a Client Identifier has 1 to 23 characters', async () => {
  await subject.connect(3, { clientId: 'x'.repeat(23) })
  expect(await subject.refused({ version: 3, clientId: 'x'.repeat(24) })).toEqual({ code: 2 })
  expect(await subject.refused({ version: 3, clientId: '' })).toEqual({ code: 2 })
})
test('CONNACK has no Session Present flag', async () => {
  const first = await subject.connect(3, { clientId: 'flagless', clean: false })
  await first.subscribe(['flagless', 1])
  await first.disconnect()
  const publisher = await subject.connect(3, { clientId: 'publisher' })
  await publisher.publish({ topic: 'flagless', qos: 1 })
  const again = await subject.dial()
  expect((await again.connect({ version: 3, clientId: 'flagless', clean: false })).sessionPresent).toBe(false)
  await again.receive()
})
test('PUBREL, SUBSCRIBE and UNSUBSCRIBE may carry DUP', async () => {
  const client = await subject.connect(3, { clientId: 'dup' })
  client.send(frame(8, 0xa, u16(1), field('dup/x'), Buffer.from([2])))
  await client.expect('suback')
  client.startPublish({ topic: 'dup/x', qos: 2, packetId: 5 })
  await client.expect('pubrec')
  client.send(frame(6, 0xa, u16(5)))
  await client.expect('pubcomp')
  client.send(frame(10, 0xa, u16(2), field('dup/x')))
  await client.expect('unsuback')
})
