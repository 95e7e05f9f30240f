/** MQTT 3.1.1 and 5, chapter 6 (the same words in both): MQTT over WebSocket. */
import { expect, test } from 'vitest'
import WebSocket from 'ws'
import { encodeRawConnect, encodeRawPublish, encodeRawSubscribe, pingreq } from '../../support/raw-packets.ts'
import { brokerUnderTest } from '../table/subject.ts'

const subject = brokerUnderTest()

const opened = (protocols: string[]): Promise<WebSocket> =>
  new Promise((resolve, reject) => {
    const socket = new WebSocket(subject.broker.ws, protocols)
    socket.once('open', () => resolve(socket))
    socket.once('error', reject)
  })

test('a text frame ends the connection [v3 MQTT-6.0.0-1] [v5 MQTT-6.0.0-1]', async () => {
  const socket = await opened(['mqtt'])
  const closed = new Promise((resolve) => socket.once('close', resolve))
  socket.send(encodeRawConnect({ clientId: 'text' }))
  await new Promise((resolve) => socket.once('message', resolve))
  socket.send('not MQTT')
  await closed
})
test('what the broker sends is in binary frames [v3 MQTT-6.0.0-1] [v5 MQTT-6.0.0-1]', async () => {
  const socket = await opened(['mqtt'])
  const binary = new Promise((resolve) => socket.once('message', (_bytes, isBinary) => resolve(isBinary)))
  socket.send(encodeRawConnect({ clientId: 'binary' }))
  expect(await binary).toBe(true)
  socket.terminate()
})
test('packets share frames and span them [v3 MQTT-6.0.0-2] [v5 MQTT-6.0.0-2] [v3 MQTT-7.1.1-1] [v5 MQTT-4.2.0-1]', async () => {
  const client = await subject.dial(true)
  const bytes = Buffer.concat([
    encodeRawConnect({ clientId: 'frames' }),
    encodeRawSubscribe(1, [{ topicFilter: 'frames' }]),
    encodeRawPublish({ topic: 'frames', payload: 'x' }),
    pingreq,
  ])
  await client.sendPieces(bytes, 1, 2, 3, 20, 1)
  await client.expect('connack')
  await client.expect('suback')
  await client.expect('publish')
  await client.expect('pingresp')
  const together = await subject.dial(true)
  together.send(bytes)
  await together.expect('connack')
  await together.expect('pingresp')
})
test('without the subprotocol mqtt there is no connection [v3 MQTT-6.0.0-3] [v5 MQTT-6.0.0-3]', async () => {
  await expect(opened([])).rejects.toThrow('400')
  await expect(opened(['amqp'])).rejects.toThrow('400')
})
test('mqtt is what the broker selects, whatever else is offered [v3 MQTT-6.0.0-4] [v5 MQTT-6.0.0-4]', async () => {
  const socket = await opened(['amqp', 'mqttv3.1', 'mqtt'])
  expect(socket.protocol).toBe('mqtt')
  socket.terminate()
})
test('TCP is a stream: a conversation cut into single bytes is understood [v3 MQTT-7.1.1-1] [v5 MQTT-4.2.0-1]', async () => {
  const client = await subject.dial()
  await client.sendPieces(Buffer.concat([encodeRawConnect({ clientId: 'bytes' }), pingreq]), 1)
  await client.expectNext('connack')
  await client.expectNext('pingresp')
})
