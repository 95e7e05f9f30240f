import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Aedes } from '../../src/embed.ts'
import { decodePublish, encodePublish, type PublishPacket } from '../../src/wire/client-packets.ts'
import type { Properties } from '../../src/wire/properties.ts'
import type { ProtocolVersion } from '../../src/wire/versions.ts'
import { bodyStart } from '../conformance/wire/decode.ts'
import { MemoryStream } from '../support/memory-stream.ts'
import { SeededRandom } from '../support/seeded-random.ts'

/**
 * Whatever a client publishes, in whatever pieces it arrives: every subscriber gets the same messages, in the same order, whole.
 * The memory of each read is overwritten afterwards.
 */

const seed = Number(process.env['SLUICEMQ_TEST_SEED'] ?? Math.floor(Math.random() * 2 ** 31))

let broker: Aedes
beforeAll(async () => {
  broker = await Aedes.createBroker()
})
afterAll(() => broker.close())

const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

async function settle(streams: readonly MemoryStream[], isDone: () => boolean): Promise<void> {
  const deadline = Date.now() + 10_000
  while (!isDone() && Date.now() < deadline) {
    await turn(streams)
  }
}

async function turn(streams: readonly MemoryStream[]): Promise<void> {
  for (const stream of streams) stream.take()
  await tick()
}

function topics(random: SeededRandom, root: string): string[] {
  const long = 'x'.repeat(random.int(0, 40))
  // The same beginning, the same end, the same length: what a comparison by words could mix up.
  return ['', 'a', 'b', `${long}/aaaaaaaa/1`, `${long}/aaaaaaaa/2`, `${long}/baaaaaaa/1`, `\u20ac${long}`].map(
    (rest) => `${root}/${rest}`,
  )
}

const kinds: readonly (Properties | null)[] = [
  null,
  { userProperties: [['a', '1']] },
  { userProperties: [['a', '2']] },
  {
    userProperties: [
      ['name-0', 'the value'],
      ['name-1', 'the value'],
      ['name-2', 'the value'],
    ],
  },
  { messageExpiryInterval: 1000, contentType: 'text/plain' },
  { payloadFormatIndicator: 0, correlationData: Buffer.alloc(24) },
  { payloadFormatIndicator: 1 },
  { userProperties: [['long', 'v'.repeat(300)]] },
]

function message(random: SeededRandom, names: readonly string[], version: ProtocolVersion, n: number): PublishPacket {
  const bytes = random.pick([
    0,
    1,
    16,
    16,
    16,
    60,
    300,
    random.chance(0.05) ? 70_000 : 20,
    random.chance(0.01) ? 300_000 : 20,
  ])
  const changing: Properties = { userProperties: [['n', String(n)]] }
  const payload = Buffer.alloc(bytes, `${n} `)
  const properties = version < 5 ? null : random.chance(0.1) ? changing : random.pick(kinds)
  const qos = random.chance(0.85) ? 0 : 1
  const topic = random.chance(0.6) ? names[0]! : random.pick(names)
  return { topic, payload, qos, retain: false, dup: false, packetId: qos === 0 ? 0 : (n % 60_000) + 1, properties }
}

/** What all receivers have to agree on. */
function essence({ topic, payload, properties }: PublishPacket, version: ProtocolVersion): object {
  const { subscriptionIdentifiers: _own, ...rest } = properties ?? {}
  return { topic, payload: payload.toString('latin1'), properties: version < 5 ? {} : rest }
}

describe.each([4, 5] as const)('what a client of version %i publishes', (version) => {
  it('reaches every subscriber whole and in order, however it is cut into reads', async () => {
    for (let round = 0; round < 12; round++) {
      const random = new SeededRandom(seed + round)
      const root = `r${version}-${round}`
      const receivers = [
        { stream: new MemoryStream(version), filter: `${root}/#` },
        { stream: new MemoryStream(4), filter: `${root}/#` },
        { stream: new MemoryStream(5), filter: `${root}/#`, identifier: 7 },
        { stream: new MemoryStream(5), filter: `${root}/a` },
      ]
      const publisher = new MemoryStream(version)
      const streams = [publisher, ...receivers.map(({ stream }) => stream)]
      for (const [i, stream] of streams.entries()) {
        broker.accept(stream)
        stream.connect(`${root}-${i}`)
      }
      await tick()
      for (const { stream, filter, identifier } of receivers) stream.subscribe(filter, 1, identifier)
      await settle(streams, () => receivers.every(({ stream }) => stream.subscribed))
      const names = topics(random, root)
      const messages = Array.from({ length: 400 }, (_, n) => message(random, names, version, n))
      const bytes = Buffer.concat(messages.map((one) => encodePublish(version, one)))
      for (let at = 0; at < bytes.length; ) {
        const piece = random.chance(0.3) ? random.int(1, 40) : random.chance(0.5) ? random.int(1, 3000) : 400_000
        publisher.feed(bytes.subarray(at, at + piece))
        at += piece
        if (random.chance(0.2)) await turn(streams)
      }
      const wantedBy = (filter: string): PublishPacket[] =>
        messages.filter(({ topic }) => filter.endsWith('#') || topic === filter)
      await settle(streams, () =>
        receivers.every(({ stream, filter }) => stream.received.length >= wantedBy(filter).length),
      )
      for (const [i, { stream, filter }] of receivers.entries()) {
        const both = Math.min(version, stream.version) as ProtocolVersion
        const got = stream.received.map((buf) =>
          decodePublish(buf[0]! & 15, buf, bodyStart(buf), buf.length, stream.version),
        )
        const context = `seed ${seed}, round ${round}, receiver ${i}`
        expect(
          got.map(({ qos }) => qos),
          context,
        ).toEqual(wantedBy(filter).map(({ qos }) => qos))
        expect(
          got.map((one) => essence(one, both)),
          context,
        ).toEqual(wantedBy(filter).map((one) => essence(one, both)))
      }
      for (const stream of streams) stream.destroy()
      await tick()
    }
  }, 30_000)
})

describe('large packets', () => {
  it('reach the others whole when a receiver stops reading or goes in the middle', async () => {
    const random = new SeededRandom(seed)
    const [publisher, reader, late, gone] = [0, 1, 2, 3].map(() => new MemoryStream(5)) as [
      MemoryStream,
      MemoryStream,
      MemoryStream,
      MemoryStream,
    ]
    const streams = [publisher, reader, late, gone]
    for (const [i, stream] of streams.entries()) {
      broker.accept(stream)
      stream.connect(`large-${i}`)
    }
    await tick()
    for (const stream of [reader, late, gone]) stream.subscribe('large', 1)
    await settle(streams, () => reader.subscribed && late.subscribed && gone.subscribed)
    const packets = Array.from({ length: 150 }, (_, n) =>
      encodePublish(5, {
        topic: 'large',
        payload: Buffer.alloc(random.pick([40_000, 65_536, 200_000, 262_144, 700_000]), `${n} `),
        properties: random.pick(kinds),
      }),
    )
    late.frozen = true
    for (const [n, packet] of packets.entries()) {
      for (let at = 0; at < packet.length; at += 100_000) {
        publisher.feed(packet.subarray(at, at + 100_000))
        if (n === 40 && at === 0) gone.destroy()
      }
    }
    await settle([publisher, reader], () => reader.received.length === packets.length)
    const context = `seed ${seed}`
    expect(
      reader.received.every((packet, n) => packet.equals(packets[n]!)),
      context,
    ).toBe(true)
    expect(reader.received.length, context).toBe(packets.length)
    // limits.outboundBytesMax is 8 MiB; the packet that meets the limit is the last.
    expect(late.bufferedBytes, context).toBeLessThan(9 * 1024 * 1024)
    late.frozen = false
    const last = encodePublish(5, { topic: 'large', payload: Buffer.from('the last') })
    await settle(streams, () => late.bufferedBytes === 0)
    publisher.feed(last)
    await settle(streams, () => late.received.at(-1)?.equals(last) === true)
    let next = 0
    for (const packet of late.received) {
      while (next < packets.length && !packets[next]!.equals(packet)) next++
      expect(next < packets.length || packet.equals(last), context).toBe(true)
    }
    expect(late.received.length, context).toBeLessThan(packets.length)
    for (const stream of streams) stream.destroy()
  }, 30_000)
})
