/** MQTT 5, sections 3.3.4 and 4.9: Receive Maximum, both ways. */
import { describe, expect, test } from 'vitest'
import { encodeRawAck, pingreq } from '../../support/raw-packets.ts'
import { brokerUnderTest, ending, persistent } from '../table/subject.ts'

const subject = brokerUnderTest({ limits: { receiveMaximum: 3 } })

describe('from the client', () => {
  test('more unacknowledged messages than the broker takes end the connection with 0x93 [v5 MQTT-3.3.4-7]', async () => {
    const client = await subject.connect(5)
    for (let n = 1; n <= 3; n++) client.startPublish({ topic: 'in', qos: 2, packetId: n })
    for (let n = 1; n <= 3; n++) await client.expect('pubrec')
    client.startPublish({ topic: 'in', qos: 2, packetId: 4 })
    expect(await ending(client)).toEqual({ reasonCode: 0x93 })
  })
  test('a QoS 1 message counts too, a repeated one does not, one of QoS 0 neither [v5 MQTT-3.3.4-7]', async () => {
    const client = await subject.connect(5)
    for (let n = 1; n <= 3; n++) client.startPublish({ topic: 'in', qos: 2, packetId: n })
    client.startPublish({ topic: 'in', qos: 2, packetId: 3, dup: true })
    client.startPublish({ topic: 'in' })
    for (let n = 1; n <= 4; n++) await client.expect('pubrec')
    await client.ping()
    client.startPublish({ topic: 'in', qos: 1, packetId: 4 })
    expect(await ending(client)).toEqual({ reasonCode: 0x93 })
  })
  test('each PUBCOMP gives room for one more [v5 MQTT-3.3.4-7]', async () => {
    const client = await subject.connect(5)
    for (let n = 1; n <= 3; n++) client.startPublish({ topic: 'in', qos: 2, packetId: n })
    for (let n = 4; n <= 20; n++) {
      client.ack('pubrel', n - 3)
      await client.expect('pubcomp')
      client.startPublish({ topic: 'in', qos: 2, packetId: n })
      await client.expect('pubrec', ({ packetId }) => packetId === n)
    }
  })
  test('many QoS 1 messages one after the other pass', async () => {
    const client = await subject.connect(5)
    for (let n = 0; n < 20; n++) await client.publish({ topic: 'in', qos: 1 })
  })
})

describe('from the broker', () => {
  const receiver = async (receiveMaximum: number, kept: boolean) => {
    const properties = { receiveMaximum, sessionExpiryInterval: kept ? 60 : 0 }
    const client = await subject.connect(5, { properties })
    await client.subscribe(['out/#', 2])
    return client
  }
  const publishMany = async (count: number) => {
    const publisher = await subject.connect(5)
    for (let n = 0; n < count; n++) await publisher.publish({ topic: 'out/x', payload: String(n), qos: 1 + (n % 2) })
    return publisher
  }

  for (const kept of [false, true]) {
    const which = kept ? 'a session that is kept' : 'a session that is not kept'

    test(`no more than the client's Receive Maximum is unacknowledged, to ${which} [v5 MQTT-3.3.4-9] [v5 MQTT-4.9.0-1] [v5 MQTT-4.9.0-2]`, async () => {
      for (const maximum of [1, 4]) {
        const client = await receiver(maximum, kept)
        await publishMany(10)
        const got = await client.expectPublishes(maximum)
        await client.ping()
        await client.expectNothing(50)
        for (let n = 0; n < 10; n++) {
          const packet = n < maximum ? got[n]! : await client.expect('publish')
          expect(packet.payload.toString()).toBe(String(n))
          if (packet.qos === 1) client.ack('puback', packet.packetId)
          else {
            client.ack('pubrec', packet.packetId)
            await client.expect('pubrel')
            // PUBREC gives no room; PUBCOMP does.
            if (n + maximum < 10 && maximum === 1) await client.expectNothing(20, 'publish')
            client.ack('pubcomp', packet.packetId)
          }
        }
        await subject.hangUp()
      }
    })

    test(`with no room left QoS 0 and everything else still goes both ways, to ${which} [v5 MQTT-3.3.4-10] [v5 MQTT-4.9.0-3]`, async () => {
      const client = await receiver(2, kept)
      const publisher = await publishMany(4)
      const [one, two] = await client.expectPublishes(2)
      publisher.startPublish({ topic: 'out/0', payload: 'qos 0' })
      expect((await client.expect('publish')).payload.toString()).toBe('qos 0')
      client.send(pingreq)
      await client.expect('pingresp')
      await client.subscribe('other')
      await client.unsubscribe('other')
      await client.publish({ topic: 'elsewhere', qos: 2 })
      expect([one!.qos, two!.qos]).toEqual([1, 2])
      client.ack('pubrec', two!.packetId)
      await client.expect('pubrel')
    })

    test(`a PUBREC of 0x80 or above gives room, to ${which} [v5 MQTT-4.9.0-2]`, async () => {
      const client = await receiver(1, kept)
      const publisher = await subject.connect(5)
      for (const payload of ['a', 'b']) await publisher.publish({ topic: 'out/x', payload, qos: 2 })
      const { packetId } = await client.expect('publish')
      client.send(encodeRawAck('pubrec', packetId, 0x87))
      expect((await client.receive()).payload.toString()).toBe('b')
    })
  }

  test('the Receive Maximum of a new connection counts, not that of the old one [v5 MQTT-3.3.4-9]', async () => {
    await subject.leaveSession(5, 'narrow', ['out/narrow', 1])
    const publisher = await subject.connect(5)
    for (let n = 0; n < 5; n++) await publisher.publish({ topic: 'out/narrow', qos: 1 })
    const wide = await subject.connect(5, persistent(5, 'narrow'))
    await wide.expectPublishes(5)
    await wide.drop()
    const properties = { sessionExpiryInterval: 60, receiveMaximum: 2 }
    const narrow = await subject.connect(5, { clientId: 'narrow', clean: false, properties })
    await narrow.expectPublishes(2)
    await narrow.expectNothing(50)
  })
  test('PUBREL of a resumed session does not wait behind PUBLISH for the window [v5 MQTT-3.3.4-10]', async () => {
    const options = persistent(5, 'release')
    await subject.leaveSession(5, 'release', ['out/release', 2])
    const publisher = await subject.connect(5)
    await publisher.publish({ topic: 'out/release', qos: 1 })
    await publisher.publish({ topic: 'out/release', qos: 2 })
    const first = await subject.connect(5, options)
    const [one, two] = await first.expectPublishes(2)
    first.ack('pubrec', two!.packetId)
    await first.expect('pubrel')
    await first.drop()
    const properties = { sessionExpiryInterval: 60, receiveMaximum: 1 }
    const second = await subject.connect(5, { ...options, properties })
    expect((await second.expect('pubrel')).packetId).toBe(two!.packetId)
    second.ack('pubcomp', two!.packetId)
    expect((await second.expect('publish')).packetId).toBe(one!.packetId)
  })
})
