/** When a program hears of what came through a stream that is no socket. */
import { Duplex } from 'node:stream'
import { expect, test } from 'vitest'
import { LaterStream } from '../../src/aedes/later-stream.ts'
import type { ByteStream, StreamHandler } from '../../src/transport.ts'

const turn = () => new Promise((resolve) => setImmediate(resolve))

function told(): { inner: StreamHandler; story: string[] } {
  const story: string[] = []
  let inner: StreamHandler | null = null
  const source = new Duplex()
  const stream = {
    peer: { protocol: 'duplex', address: '' },
    source,
    setHandler: (handler: StreamHandler) => {
      inner = handler
    },
  } as unknown as ByteStream
  new LaterStream(stream).setHandler({
    data: (bytes) => void story.push(String(bytes)),
    drain: () => {},
    closed: (error) => void story.push(`closed ${error?.message ?? ''}`.trim()),
  })
  return { inner: inner!, story }
}

test('what comes is passed on in the next turn, and the end after it', async () => {
  const { inner, story } = told()
  inner.data(Buffer.from('one'))
  inner.data(Buffer.from('two'))
  inner.closed(new Error('gone'))
  expect(story).toEqual([])
  await turn()
  expect(story).toEqual(['one', 'two', 'closed gone'])
})

test('an end with nothing before it is told at once: whoever waits for a timer after it finds it told', async () => {
  const { inner, story } = told()
  inner.data(Buffer.from('one'))
  await turn()
  inner.closed(null)
  expect(story).toEqual(['one', 'closed'])
})
