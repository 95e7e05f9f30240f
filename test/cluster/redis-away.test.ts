/** What clients of a node see while that node cannot reach Redis. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { SluiceError } from '../../src/errors.ts'
import { RawClient } from '../support/raw-client.ts'
import { type Node, startNode } from '../support/redis-nodes.ts'
import { hasRedis, RedisProcess } from '../support/redis-process.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'

const timing = { nodeTimeoutMs: 60_000, surrenderTimeoutMs: 500, commitTimeoutMs: 8000, answerTimeoutMs: 300 }

describe.skipIf(!hasRedis)('while Redis is away', () => {
  let redis: RedisProcess
  let line: TcpProxy
  let a: Node
  let b: Node

  beforeEach(async () => {
    redis = await RedisProcess.start({ appendfsync: 'no' })
    line = await TcpProxy.start(redis.port)
    a = await startNode(`redis://127.0.0.1:${line.port}`, 'a', {}, timing)
    b = await startNode(redis.url, 'b', {}, timing)
  })
  afterEach(async () => {
    await Promise.all([a.stop(), b.stop()])
    await line.stop()
    await redis.stop()
  })

  test.each([false, true])('CONNECT waits until it is back (Clean Session %s)', async (clean) => {
    const client = await RawClient.open(a.mqtt)
    line.cut()
    const connack = client.connect({ clientId: 'patient', clean })
    await new Promise((resolve) => setTimeout(resolve, 300))
    line.heal()
    expect((await connack).code).toBe(0)
    await client.publish({ topic: 't', payload: 'x', qos: 1 })
    await client.disconnect()
  })

  test('a node that cannot ask the others does nothing else meanwhile but wait', async () => {
    const client = await RawClient.connected(a.mqtt, { clientId: 'subscriber' })
    const begun = performance.now()
    const ask = a.cluster.request.bind(a.cluster)
    let asked = 0
    a.cluster.request = (...question) => {
      // Past that it answers, so that a node that spins comes to an end.
      if (question[1] !== 'seen' || ++asked > 1000) return ask(...question)
      return Promise.reject(new SluiceError('node_gone', 'cannot reach b'))
    }
    const suback = client.subscribe('t')
    await client.ping()
    await expect.poll(() => asked).toBeGreaterThan(2)
    // A tenth of a second lies between two questions, however slow the machine is.
    expect(asked).toBeLessThan(2 + (performance.now() - begun) / 90)
    a.cluster.request = ask
    await suback
    await client.disconnect()
  })
})
