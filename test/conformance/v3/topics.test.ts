/** MQTT 3.1.1, section 4.7: Topic Names and Topic Filters. */
import { expect, test } from 'vitest'
import { brokerUnderTest, persistent } from '../table/subject.ts'

const subject = brokerUnderTest()

/** Which of the topics reach a subscriber of the filter. */
async function matching(topicFilter: string, topics: string[]): Promise<string[]> {
  const client = await subject.subscriber(4, topicFilter)
  for (const topic of topics) client.startPublish({ topic })
  await client.ping()
  return client.takeAll('publish').map(({ topic }) => topic)
}

test('# matches its level and all below, the parent included [v3 MQTT-4.7.1-2]', async () => {
  const topics = ['sport', 'sport/', 'sport/a', 'sport/a/b/c', 'sports', 'sport2/a']
  expect(await matching('sport/#', topics)).toEqual(['sport', 'sport/', 'sport/a', 'sport/a/b/c'])
  expect(await matching('#', ['a', '/', 'a/b', '/a'])).toEqual(['a', '/', 'a/b', '/a'])
})
test('+ matches one whole level, empty ones too [v3 MQTT-4.7.1-3]', async () => {
  expect(await matching('p/+', ['p', 'p/', 'p/a', 'p/a/b', 'px/a'])).toEqual(['p/', 'p/a'])
  expect(await matching('+/+', ['/finance', 'a/b', '/', 'a', 'a/b/c'])).toEqual(['/finance', 'a/b', '/'])
  expect(await matching('/+', ['/finance', 'finance', '/'])).toEqual(['/finance', '/'])
  expect(await matching('+', ['finance', '/finance'])).toEqual(['finance'])
  expect(await matching('+/t/#', ['a/t', '/t/b', 't', 'a/t/b/c'])).toEqual(['a/t', '/t/b', 'a/t/b/c'])
})
test('empty levels count [v3 MQTT-4.7.3-4]', async () => {
  expect(await matching('a//b', ['a/b', 'a//b', 'a///b'])).toEqual(['a//b'])
  expect(await matching('a/', ['a', 'a/', 'a//'])).toEqual(['a/'])
  expect(await matching('/', ['/', '//'])).toEqual(['/'])
})
test('neither case, width, composition nor space is evened out [v3 MQTT-4.7.3-4]', async () => {
  const topics = ['\u00c5', 'A\u030a', '\u212b', '\u00e5', ' \u00c5', '\u00c5 ']
  expect(await matching('\u00c5', topics)).toEqual(['\u00c5'])
  expect(await matching('A\u030a', topics)).toEqual(['A\u030a'])
  expect(await matching('a b', ['a b', 'a  b', 'a%20b'])).toEqual(['a b'])
  expect(await matching('\u{1f600}/+', ['\u{1f600}/\u{10ffff}', '\ufffd/x'])).toEqual(['\u{1f600}/\u{10ffff}'])
})
test('a filter that begins with a wildcard does not match a topic that begins with $ [v3 MQTT-4.7.2-1]', async () => {
  const topics = ['$own/x', '$', 'own/x']
  expect(await matching('#', topics)).toEqual(['own/x'])
  expect(await matching('+/x', topics)).toEqual(['own/x'])
  expect(await matching('$own/#', topics)).toEqual(['$own/x'])
  expect(await matching('$own/+', topics)).toEqual(['$own/x'])
})
test('retained messages keep to the same rule [v3 MQTT-4.7.2-1]', async () => {
  const client = await subject.connect(4)
  await client.publish({ topic: '$kept/x', payload: 'x', qos: 1, retain: true })
  await client.subscribe('#', '+/x')
  await client.ping()
  expect(client.takeAll('publish')).toEqual([])
  await client.subscribe('$kept/+')
  expect((await client.receive()).topic).toBe('$kept/x')
})
test('one character is enough, 65,535 bytes are not too many [v3 MQTT-4.7.3-1] [v3 MQTT-4.7.3-3]', async () => {
  const longest = 'x'.repeat(65_535)
  const client = await subject.connect(4, persistent(4, 'longest'))
  await client.subscribe([longest, 1], ['y', 1])
  await client.publish({ topic: longest, payload: 'l', qos: 1, retain: true })
  expect((await client.receive()).topic).toBe(longest)
  await client.publish({ topic: 'y', qos: 1 })
  expect((await client.receive()).topic).toBe('y')
  await client.disconnect()
  const publisher = await subject.connect(4)
  await publisher.publish({ topic: longest, payload: 'away', qos: 1 })
  const again = await subject.connect(4, persistent(4, 'longest'))
  expect(await again.receive()).toMatchObject({ topic: longest, payload: Buffer.from('away') })
  await again.unsubscribe(longest)
  await again.subscribe([longest, 0])
  expect(await again.receive()).toMatchObject({ topic: longest, payload: Buffer.from('l'), retain: true })
})
