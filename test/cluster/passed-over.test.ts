/** A client moves to another node while the one that served it cannot be reached, and is alive. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { RawClient } from '../support/raw-client.ts'
import { type Node, startNode } from '../support/redis-nodes.ts'
import { hasRedis, RedisProcess } from '../support/redis-process.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'

const timing = { nodeTimeoutMs: 60_000, surrenderTimeoutMs: 200, answerTimeoutMs: 5000 }
/** Of the node that is passed over: longer than a commit takes on a busy machine, and longer than a client needs to move. */
const commitTimeoutMs = 2000

describe.skipIf(!hasRedis)('a node that is passed over', () => {
  let redis: RedisProcess
  let line: TcpProxy
  let a: Node
  let b: Node

  beforeEach(async () => {
    redis = await RedisProcess.start({ appendfsync: 'no' })
    line = await TcpProxy.start(redis.port)
    a = await startNode(`redis://127.0.0.1:${line.port}`, 'a', {}, { ...timing, commitTimeoutMs })
    b = await startNode(redis.url, 'b', {}, timing)
  })
  afterEach(async () => {
    await Promise.all([a.stop(), b.stop()])
    await line.stop()
    await redis.stop()
  })

  /** Payloads that a session waiting for `topic` has got. */
  async function waiting(clientId: string): Promise<string[]> {
    const reader = await RawClient.connected(b.mqtt, { clientId, clean: false })
    reader.autoAck = true
    await reader.publish({ topic: 'probe', payload: 'end', qos: 2 })
    const payloads: string[] = []
    while (payloads.at(-1) !== 'end') payloads.push((await reader.expect('publish')).payload.toString())
    await reader.disconnect()
    return payloads.slice(0, -1)
  }

  test('a QoS 2 message that is in Redis, unknown to the node, is delivered once when it is sent again there', async () => {
    const reader = await RawClient.connected(b.mqtt, { clientId: 'sleeper', clean: false })
    reader.autoAck = true
    await reader.subscribe(['m', 2], ['probe', 2])
    const writer = await RawClient.connected(a.mqtt, { clientId: 'writer', clean: false })
    line.silence('down')
    const packetId = writer.startPublish({ topic: 'm', payload: 'once', qos: 2 })
    expect((await reader.expect('publish')).payload.toString()).toBe('once')
    await writer.closed
    line.heal('late')
    const again = await RawClient.connected(a.mqtt, { clientId: 'writer', clean: false })
    again.startPublish({ topic: 'm', payload: 'once', qos: 2, packetId, dup: true })
    await again.expect('pubrec')
    again.ack('pubrel', packetId)
    await again.expect('pubcomp')
    await again.publish({ topic: 'm', payload: 'next', qos: 2, packetId })
    expect((await reader.expect('publish')).payload.toString()).toBe('next')
    await again.disconnect()
    await reader.disconnect()
  })

  test.each([
    ['never reached Redis in time', 'both', 'pubrec'],
    ['is in Redis, unknown to the node', 'down', 'closed'],
  ] as const)('a QoS 2 message that %s is delivered once when it is sent again elsewhere', async (_, held, end) => {
    const sleeper = await RawClient.connected(b.mqtt, { clientId: 'sleeper', clean: false })
    await sleeper.subscribe(['m', 2], ['probe', 2])
    await sleeper.disconnect()
    const writer = await RawClient.connected(a.mqtt, { clientId: 'writer', clean: false })
    await writer.publish({ topic: 'm', payload: 'before', qos: 2 })
    line.silence(held)
    const packetId = writer.startPublish({ topic: 'm', payload: 'moved', qos: 2 })
    // Where the commit is given up before the client goes, the node has closed the connection without an answer.
    if (end === 'closed') await writer.closed
    const again = await RawClient.connected(b.mqtt, { clientId: 'writer', clean: false })
    again.startPublish({ topic: 'm', payload: 'moved', qos: 2, packetId, dup: true })
    await again.expect('pubrec')
    line.heal('late')
    await writer.closed
    again.ack('pubrel', packetId)
    await again.expect('pubcomp')
    // The node serves again, and has understood that it lost the client.
    await expect.poll(() => redis.admin.exists('sluicemq:passed:a'), { timeout: 10_000 }).toBe(0)
    const other = await RawClient.connected(a.mqtt, { clientId: 'other' })
    await expect
      .poll(() =>
        other.publish({ topic: 'm', payload: 'after', qos: 1 }).then(
          () => true,
          () => false,
        ),
      )
      .toBe(true)
    await other.disconnect()
    expect(await waiting('sleeper')).toEqual(['before', 'moved', 'after'])
    await again.publish({ topic: 'm', payload: 'more', qos: 2, packetId })
    expect(await waiting('sleeper')).toEqual(['more'])
    await again.disconnect()
  })

  test('the will of the connection it can no longer speak for is published where the client is back, once [v3 MQTT-3.1.2-8]', async () => {
    const watcher = await RawClient.connected(b.mqtt, { clientId: 'watcher' })
    await watcher.subscribe(['wills/#', 1])
    watcher.autoAck = true
    const will = (payload: string) => ({ topic: 'wills/x', payload, qos: 1 })
    const mortal = { clientId: 'mortal', clean: false }
    const before = await RawClient.connected(a.mqtt, { ...mortal, will: will('first') })
    line.silence('both')
    const after = await RawClient.connected(b.mqtt, { ...mortal, will: will('second') })
    expect((await watcher.expect('publish')).payload.toString()).toBe('first')
    line.heal('late')
    await before.closed
    await expect.poll(() => redis.admin.exists('sluicemq:passed:a'), { timeout: 10_000 }).toBe(0)
    after.reset()
    expect((await watcher.expect('publish')).payload.toString()).toBe('second')
    await watcher.publish({ topic: 'wills/end', payload: 'end', qos: 1 })
    expect((await watcher.expect('publish')).payload.toString()).toBe('end')
    await watcher.disconnect()
  })
})
