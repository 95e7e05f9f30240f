/**
 * What `redis.waitAof` sends and how its answers are taken. Redis before 7.2 has no WAITAOF: a line in front of a real server
 * answers it instead, and passes everything else on.
 */
import net from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { RedisStore } from '../../src/stores/redis/store.ts'
import { openStore } from '../contract/redis-harness.ts'
import { body, target } from '../contract/store-contract.ts'
import { hasRedis, RedisProcess } from '../support/redis-process.ts'

/** A command as clients encode it, with three arguments. */
const COMMAND = /\*4\r\n\$7\r\nwaitaof\r\n((?:\$\d+\r\n\d+\r\n){3})/gi

/** In place of WAITAOF the server gets an ECHO, whose answer is replaced: so answers keep their places. */
class WaitAofLine {
  /** Arguments of each WAITAOF. */
  readonly asked: string[] = []
  /** What is answered to it, in RESP; the last one again and again. */
  answers: string[] = []
  readonly #server: net.Server
  readonly #sockets = new Set<net.Socket>()

  private constructor(port: number) {
    this.#server = net.createServer((near) => {
      const far = net.connect(port, '127.0.0.1')
      near.on('data', (bytes) =>
        far.write(
          bytes.toString('latin1').replace(COMMAND, (_, all) => this.#ask(all)),
          'latin1',
        ),
      )
      far.on('data', (bytes) =>
        near.write(
          bytes.toString('latin1').replace(/\$7\r\nwaitaof\r\n/g, () => this.#answer()),
          'latin1',
        ),
      )
      for (const [socket, other] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.add(socket)
        socket.on('close', () => other.destroy()).on('error', () => other.destroy())
      }
    })
  }

  static async start(port: number): Promise<WaitAofLine> {
    const line = new WaitAofLine(port)
    await new Promise<void>((resolve) => line.#server.listen(0, '127.0.0.1', resolve))
    return line
  }

  get url(): string {
    return `redis://127.0.0.1:${(this.#server.address() as net.AddressInfo).port}`
  }

  #ask(encoded: string): string {
    this.asked.push([...encoded.matchAll(/\r\n(\d+)\r\n/g)].map(([, argument]) => argument).join(' '))
    return '*2\r\n$4\r\nECHO\r\n$7\r\nwaitaof\r\n'
  }

  #answer(): string {
    return this.answers.length > 1 ? this.answers.shift()! : this.answers[0]!
  }

  async stop(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }
}

const counts = (local: number, replicas: number): string => `*2\r\n:${local}\r\n:${replicas}\r\n`

describe.skipIf(!hasRedis)('redis.waitAof', () => {
  let redis: RedisProcess
  let line: WaitAofLine
  const stores: RedisStore[] = []

  beforeEach(async () => {
    redis = await RedisProcess.start({ appendfsync: 'no' })
    line = await WaitAofLine.start(redis.port)
  })
  afterEach(async () => {
    for (const store of stores.splice(0)) await store.close().catch(() => {})
    await line.stop()
    await redis.stop()
  })

  const open = async (url: string, count: number): Promise<RedisStore> => {
    const store = await openStore({ url }, { redis: { url }, commitTimeoutMs: 1500, replicas: { count, aof: true } })
    stores.push(store)
    return store
  }

  it('is refused at the start by a server that does not know it, and by one that keeps no file', async () => {
    line.answers = ["-ERR unknown command 'WAITAOF', with args beginning with: '1'\r\n"]
    await expect(open(line.url, 0)).rejects.toMatchObject({
      code: 'store_version',
      message: expect.stringContaining('redis.waitAof needs Redis 7.2'),
    })
    const why = 'WAITAOF cannot be used when numlocal is set but appendonly is disabled.'
    line.answers = [`-ERR ${why}\r\n`]
    await expect(open(line.url, 0)).rejects.toMatchObject({
      code: 'config_invalid',
      message: expect.stringContaining(why),
    })
  })

  it.each([
    [0, [counts(0, 3), counts(1, 0)]],
    [2, [counts(1, 1), counts(0, 2), counts(1, 2)]],
  ])('holds the commit until the file here and those of %d replicas have it', async (count, answers) => {
    line.answers = [counts(1, 0)]
    const store = await open(line.url, count)
    expect(line.asked).toEqual(['1 0 1000'])
    // What the store wrote at its start is confirmed.
    line.answers = [counts(1, count)]
    await store.commit()
    line.asked.length = 0
    line.answers = [...answers]
    store.append(body('x'), [target(store.lane('s/a'))])
    await store.commit()
    expect(line.asked).toEqual(answers.map(() => `1 ${count} 1000`))
    expect(line.answers).toEqual([answers.at(-1)])
  })

  it('refuses what was not confirmed in time, and takes it out again', async () => {
    line.answers = [counts(1, 0)]
    const store = await open(line.url, 0)
    line.answers = ['-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.\r\n']
    store.append(body('refused'), [target(store.lane('s/a'))])
    await expect(store.commit()).rejects.toMatchObject({ code: 'store_unavailable' })
    line.answers = [counts(1, 0)]
    await expect
      .poll(async () => {
        store.append(body('taken'), [target(store.lane('s/a'))])
        return store.commit().then(
          () => true,
          () => false,
        )
      })
      .toBe(true)
    await expect.poll(() => redis.admin.xlen('sluicemq:lane:s/a')).toBe(1)
  })
})
