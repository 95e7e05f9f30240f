/** What one node may have under way to another that does not take it. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { connectRedis } from '../../src/base/redis-connection.ts'
import type { ClusterListener } from '../../src/cluster.ts'
import type { Fabric, FabricMessage } from '../../src/clusters/redis/fabric.ts'
import { RedisCluster } from '../../src/clusters/redis.ts'
import { hasRedis, RedisProcess } from '../support/redis-process.ts'

const KIB = 1024
const UNSENT_MAX = 1024 * KIB

/** Channels of one process; `loses` lets live messages vanish, as Redis does while a node is not subscribed. */
class Channels {
  readonly #heard = new Map<string, (message: FabricMessage) => void>()
  loses = false

  readonly fabric: Fabric = {
    listen: async (channel, heard) => {
      this.#heard.set(channel, heard)
    },
    send: (channel, message, sent) => {
      const lost = this.loses && message.is === 'messages'
      setImmediate(() => {
        if (!lost) this.#heard.get(channel)?.(message)
        sent(null)
      })
    },
    close: async () => {},
  }
}

class Listener implements ClusterListener {
  frames: number[] = []
  #taken: () => void = () => {}

  messages(_from: string, frames: Buffer): void {
    if (frames.length > 0) this.frames.push(frames.length)
  }
  taken(): void {
    this.#taken()
  }
  /** Resolves when the other node says that it has taken something. */
  tells(): Promise<void> {
    return new Promise((resolve) => {
      this.#taken = resolve
    })
  }
  surrender = (): Promise<void> => Promise.resolve()
  asked = (): Promise<unknown> => Promise.resolve(null)
  joined(): void {}
  gone(): void {}
  leading(): void {}
  fenced(): void {}
}

describe.skipIf(!hasRedis)('live messages to another node', () => {
  let redis: RedisProcess
  beforeAll(async () => {
    redis = await RedisProcess.start({ appendfsync: 'no' })
  })
  afterAll(() => redis.stop())

  test('wait up to a limit for who takes none, and go on when it does, also when what was sent is lost', async () => {
    const channels = new Channels()
    let ahead = 0
    const clock = { ...systemClock, monotonic: () => systemClock.monotonic() + ahead }
    const connection = connectRedis({ url: redis.url }, 'flow')
    await new Promise<void>((resolve) => connection.once('ready', () => resolve()))
    const cluster = (nodeId: string): RedisCluster =>
      new RedisCluster({
        nodeId,
        version: 'test',
        clock,
        redis: connection as never,
        ready: async () => {},
        close: () => {},
        fabric: channels.fabric,
        prefix: 'sluicemq:',
        nodeTimeoutMs: 60_000,
        surrenderTimeoutMs: 1000,
        unsentBytesMax: UNSENT_MAX,
        patienceMs: 1000,
        onError: () => {},
        onHeard: () => {},
      })
    const [a, b] = [cluster('a'), cluster('b')]
    const [atA, atB] = [new Listener(), new Listener()]
    await a.join(atA)
    await b.join(atB)
    while (!a.others.has('b')) await new Promise<void>((resolve) => setImmediate(resolve))

    const told = atA.tells()
    expect(a.send('b', Buffer.alloc(100 * KIB))).toBe(true)
    expect(a.untaken('b')).toBe(100 * KIB)
    await told
    expect(a.untaken('b')).toBe(0)

    channels.loses = true
    let sent = 0
    while (a.send('b', Buffer.alloc(200 * KIB))) sent++
    expect(sent).toBe(6)
    expect(a.untaken('b')).toBe(1200 * KIB)
    ahead += 999
    expect(a.send('b', Buffer.alloc(1))).toBe(false)

    channels.loses = false
    ahead += 1
    const answered = atA.tells()
    expect(a.send('b', Buffer.alloc(1))).toBe(false)
    await answered
    expect(a.untaken('b')).toBe(0)
    const again = atA.tells()
    expect(a.send('b', Buffer.alloc(70 * KIB))).toBe(true)
    await again
    expect(atB.frames).toEqual([100 * KIB, 70 * KIB])

    await a.leave()
    await b.leave()
    connection.disconnect()
  })
})
