/**
 * The tests' own raw client against a broker that is not ours: what it calls MQTT must be what others call MQTT.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { hasMosquitto, type MosquittoProcess, startMosquitto } from '../support/mosquitto-process.ts'
import { RawClient } from '../support/raw-client.ts'
import { encodeRawPublish, type Version } from '../support/raw-packets.ts'

const skipped = !hasMosquitto && process.env.CI !== 'true'

describe.skipIf(skipped)('the raw client against Mosquitto (skipped when mosquitto is not installed)', () => {
  let mosquitto: MosquittoProcess
  beforeAll(async () => {
    mosquitto = await startMosquitto()
  })
  afterAll(() => mosquitto?.stop())

  const versions: Version[] = [3, 4, 5]
  for (const version of versions) {
    for (const way of ['mqtt', 'ws'] as const) {
      test(`MQTT level ${version} over ${way}: subscribe, publish at each QoS, retained, will, unsubscribe`, async () => {
        const client = await RawClient.connected(mosquitto[way], { version, clientId: `raw-${version}-${way}` })
        const topic = `t/${version}/${way}`
        expect((await client.subscribe([`${topic}/#`, 2], [`other/${topic}`, 1])).codes).toEqual([2, 1])
        for (const qos of [0, 1, 2]) {
          await client.publish({ topic: `${topic}/${qos}`, payload: `at ${qos}`, qos })
          expect(await client.receive()).toMatchObject({ topic: `${topic}/${qos}`, qos, retain: false, dup: false })
        }
        const dying = await RawClient.connected(mosquitto[way], {
          version,
          clientId: `dying-${version}-${way}`,
          will: { topic: `${topic}/will`, payload: 'gone', qos: 1, retain: true },
        })
        dying.reset()
        expect((await client.receive()).payload.toString()).toBe('gone')
        const late = await RawClient.connected(mosquitto[way], { version, clientId: `late-${version}-${way}` })
        await late.subscribe(`${topic}/will`)
        expect(await late.receive()).toMatchObject({ retain: true, qos: 0 })
        await client.unsubscribe(`${topic}/#`)
        await late.publish({ topic: `${topic}/1` })
        await late.ping()
        await client.ping()
        await client.expectNothing(20)
        await Promise.all([client.disconnect(), late.disconnect()])
      })
    }
  }

  test('MQTT 5 properties travel', async () => {
    const client = await RawClient.connected(mosquitto.mqtt, { version: 5, properties: { receiveMaximum: 10 } })
    await client.subscribe(['p', 1])
    const properties = { contentType: 'text/plain', userProperty: [['a', 'b']] as [string, string][] }
    client.startPublish({ topic: 'p', qos: 1, payload: 'x', properties })
    expect((await client.receive()).properties).toEqual(properties)
    await client.disconnect()
  })

  test('pieces, a frozen reader and a failed expectation that says what came', async () => {
    const client = await RawClient.connected(mosquitto.mqtt, { clientId: 'odd' })
    await client.subscribe('odd')
    await client.sendPieces(encodeRawPublish({ topic: 'odd', payload: 'in pieces' }), 1, 2, 3)
    expect((await client.receive()).payload.toString()).toBe('in pieces')
    client.freeze()
    client.startPublish({ topic: 'odd', payload: 'held' })
    await client.expectNothing(50)
    client.thaw()
    await expect(client.expect('puback', () => true, 200)).rejects.toThrow(/puback within 200 ms.*publish\(odd 'held'/)
    await client.receive()
    client.reset()
    await client.expectClosed()
    await expect(client.expect('publish')).rejects.toThrow(/closed/)
  })
})
