/** MQTT 5, section 4.7: Topic Names and Topic Filters. */
import { expect, test } from 'vitest'
import { brokerUnderTest, persistent } from '../table/subject.ts'

const subject = brokerUnderTest({ store: 'lmdb' })

/** Which of the topics reach a subscriber of the filter. */
async function matching(topicFilter: string, topics: string[]): Promise<string[]> {
  const client = await subject.subscriber(5, topicFilter)
  for (const topic of topics) client.startPublish({ topic })
  await client.ping()
  return client.takeAll('publish').map(({ topic }) => topic)
}

test('# matches its level and all below, the parent included [v5 MQTT-4.7.1-1]', async () => {
  const topics = ['sport', 'sport/', 'sport/a', 'sport/a/b/c', 'sports', 'sport2/a']
  expect(await matching('sport/#', topics)).toEqual(['sport', 'sport/', 'sport/a', 'sport/a/b/c'])
  expect(await matching('#', ['a', '/', 'a/b', '/a'])).toEqual(['a', '/', 'a/b', '/a'])
})
test('+ matches one whole level, empty ones too [v5 MQTT-4.7.1-2]', async () => {
  expect(await matching('p/+', ['p', 'p/', 'p/a', 'p/a/b', 'px/a'])).toEqual(['p/', 'p/a'])
  expect(await matching('+/+', ['/finance', 'a/b', '/', 'a', 'a/b/c'])).toEqual(['/finance', 'a/b', '/'])
  expect(await matching('/+', ['/finance', 'finance', '/'])).toEqual(['/finance', '/'])
  expect(await matching('+/t/#', ['a/t', '/t/b', 't', 'a/t/b/c'])).toEqual(['a/t', '/t/b', 'a/t/b/c'])
})
test('neither empty levels, case, composition nor space is evened out [v5 MQTT-4.7.3-4]', async () => {
  expect(await matching('a//b', ['a/b', 'a//b', 'a///b'])).toEqual(['a//b'])
  const topics = ['\u00c5', 'A\u030a', '\u212b', '\u00e5', ' \u00c5', '\u00c5 ']
  expect(await matching('\u00c5', topics)).toEqual(['\u00c5'])
  expect(await matching('\u{1f600}/+', ['\u{1f600}/\u{10ffff}', '\ufffd/x'])).toEqual(['\u{1f600}/\u{10ffff}'])
})
test('a filter that begins with a wildcard does not match a topic that begins with $ [v5 MQTT-4.7.2-1]', async () => {
  const topics = ['$own/x', '$', 'own/x']
  expect(await matching('#', topics)).toEqual(['own/x'])
  expect(await matching('+/x', topics)).toEqual(['own/x'])
  expect(await matching('$share/g/#', topics)).toEqual(['own/x'])
  expect(await matching('$own/#', topics)).toEqual(['$own/x'])
})
test('one character is enough, 65,535 bytes are not too many, live, kept and retained [v5 MQTT-4.7.3-1] [v5 MQTT-4.7.3-3]', async () => {
  const longest = 'x'.repeat(65_535)
  const client = await subject.connect(5, persistent(5, 'longest'))
  await client.subscribe([longest, 1], ['y', 1])
  await client.publish({ topic: longest, payload: 'l', qos: 1, retain: true })
  expect((await client.receive()).topic).toBe(longest)
  await client.publish({ topic: 'y', qos: 1 })
  expect((await client.receive()).topic).toBe('y')
  await client.disconnect()
  const publisher = await subject.connect(5)
  await publisher.publish({ topic: longest, payload: 'away', qos: 1 })
  const again = await subject.connect(5, persistent(5, 'longest'))
  expect(await again.receive()).toMatchObject({ topic: longest, payload: Buffer.from('away') })
  expect((await again.unsubscribe(longest)).codes).toEqual([0])
  await again.subscribe([longest, 0])
  expect(await again.receive()).toMatchObject({ topic: longest, payload: Buffer.from('l'), retain: true })
})
