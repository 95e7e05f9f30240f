/** The fuzzer's short form, and proof that it notices what it is there for. */
import net from 'node:net'
import { afterAll, describe, expect, test } from 'vitest'
import { makeConversation } from '../fuzz/conversations.ts'
import { type FuzzOptions, fuzz, spoiledConversation } from '../fuzz/fuzz.ts'
import { inPieces, mutate } from '../fuzz/mutate.ts'
import { play } from '../fuzz/play.ts'
import { shrinkList } from '../fuzz/shrink.ts'
import { BrokerTarget, type FuzzTarget } from '../fuzz/target.ts'
import { startBroker } from '../support/broker-inline.ts'
import { RawClient } from '../support/raw-client.ts'
import { pingreq } from '../support/raw-packets.ts'
import { SeededRandom } from '../support/seeded-random.ts'

const seed = Number(process.env['SLUICEMQ_TEST_SEED'] ?? Date.now() % 1_000_000)
const options: FuzzOptions = {
  seed,
  packets: 20_000,
  seconds: 16,
  from: 0,
  concurrency: 32,
  watchMemory: false,
  bystander: true,
  report: () => {},
}

/** A server that dies of one kind of packet: SUBSCRIBE with flags that are reserved. */
class FragileServer implements FuzzTarget {
  readonly http = null
  mqtt = { host: '127.0.0.1', port: 0 }
  #dead = false
  readonly #server = net.createServer((socket) => {
    let held: Buffer = Buffer.alloc(0)
    socket.on('error', () => {})
    socket.on('data', (bytes) => {
      held = Buffer.concat([held, bytes])
      while (held.length >= 2 && held[1]! < 128 && held.length >= held[1]! + 2) {
        if (held[0]! >> 4 === 8 && (held[0]! & 15) !== 2) this.#dead = true
        held = held.subarray(held[1]! + 2)
      }
    })
  })

  failure(): string | null {
    return this.#dead ? 'it died of SUBSCRIBE' : null
  }
  residentBytes(): number {
    return 0
  }
  async collectGarbage(): Promise<void> {}
  async restart(): Promise<void> {
    this.#dead = false
    if (!this.#server.listening) await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve))
    this.mqtt.port = (this.#server.address() as net.AddressInfo).port
  }
  async stop(): Promise<void> {
    await new Promise((resolve) => this.#server.close(resolve))
  }
}

describe('the broker', () => {
  let target: BrokerTarget | null = null
  afterAll(() => target?.stop())

  test('survives 20,000 spoiled packets, and nobody else notices', { timeout: 60_000 }, async () => {
    target = await BrokerTarget.start('lmdb')
    const result = await fuzz(target, options)
    expect(result.failure, `seed ${seed}`).toBeNull()
    expect(result.mutated).toBeGreaterThan(2000)
    expect(result.echoes).toBeGreaterThan(100)
    expect(result.queued).toBeGreaterThan(0)
  })
})

describe('the fuzzer', () => {
  test('finds what kills a server, and makes the conversation small', { timeout: 60_000 }, async () => {
    const target = new FragileServer()
    await target.restart()
    const lines: string[] = []
    const fragile = {
      ...options,
      seed: 5,
      bystander: false,
      concurrency: 4,
      report: (line: string) => void lines.push(line),
    }
    const { failure } = await fuzz(target, fragile)
    await target.stop()
    expect(failure).toContain('it died of SUBSCRIBE')
    expect(failure).toContain('seed 5, conversations ')
    const hex = failure!.split('\n').filter((line) => /^([0-9a-f]{2})+$/.test(line))
    expect(hex).toHaveLength(1)
    expect(hex[0]).toMatch(/^8[013-9a-f]/)
    expect(hex[0]!.length).toBeLessThanOrEqual(40)
    expect(lines[0]).toContain('FAILED')
  })

  test('notices a server that takes no connection, and one that says nonsense', async () => {
    const silent = { pieces: [pingreq], version: 4 as const, leave: 'end' as const, deaf: false }
    expect(await play({ host: '127.0.0.1', port: 1 }, silent)).toMatch(/^the broker takes no connection/)
    const server = net.createServer((socket) => {
      socket.on('error', () => {}).resume()
      socket.write(Buffer.from([0x20, 0x02, 0x07, 0x00]))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as net.AddressInfo
    expect(await play({ host: '127.0.0.1', port }, silent)).toMatch(/what no broker may say: CONNACK flags 7/)
    expect(await play({ host: '127.0.0.1', port }, { ...silent, version: null })).toBeNull()
    server.close()
  })

  test('says the same for the same seed and number', () => {
    const words = (of: number, number: number): string => {
      const { pieces, packets, ...rest } = spoiledConversation(of, number)
      return JSON.stringify([rest, [...pieces, ...packets].map((bytes) => bytes.toString('base64'))])
    }
    for (let number = 0; number < 50; number++) expect(words(seed, number)).toBe(words(seed, number))
    expect(words(seed, 1)).not.toBe(words(seed, 2))
    expect(words(seed, 1)).not.toBe(words(seed + 1, 1))
  })

  test('spoils something in every conversation, counts it, and cuts without losing a byte', () => {
    const random = new SeededRandom(seed)
    for (let i = 0; i < 300; i++) {
      const recorded = makeConversation(random).packets
      const said = mutate(recorded, random, makeConversation(random).packets)
      const spoiled = said.filter(({ mutated }) => mutated).length
      const same = said.length === recorded.length && said.every(({ bytes }, at) => bytes.equals(recorded[at]!))
      if (!same && said.length >= recorded.length) expect(spoiled).toBeGreaterThan(0)
      const whole = Buffer.concat(said.map(({ bytes }) => bytes))
      expect(Buffer.concat(inPieces(said, random)).equals(whole)).toBe(true)
    }
  })

  test('records conversations that a broker answers, most of them to the end', async () => {
    const broker = await startBroker({})
    const random = new SeededRandom(7)
    let answered = 0
    const all = 60
    for (let i = 0; i < all; i++) {
      const { version, packets } = makeConversation(random)
      const client = await RawClient.open(broker.mqtt)
      client.version = version
      const ended = packets.at(-1)![0] === 0xe0
      // The raw client learns its version from `connect`; here the bytes are given.
      Object.assign(client, { reader: Object.assign(Reflect.get(client, 'reader'), { version }) })
      client.send(...(ended ? packets.slice(0, -1) : packets), pingreq)
      const pong = client.expect('pingresp').then(() => true)
      if (await Promise.race([pong.catch(() => false), client.closed.then(() => false)])) answered++
      client.reset()
      await client.closed
    }
    await broker.stop()
    expect(answered).toBeGreaterThan(all * 0.6)
  })

  test('leaves out what is not needed', async () => {
    const needed = new Set([3, 17])
    const fails = async (list: readonly number[]) => [...needed].every((n) => list.includes(n))
    expect(
      await shrinkList(
        Array.from({ length: 40 }, (_, i) => i),
        fails,
      ),
    ).toEqual([3, 17])
  })
})
