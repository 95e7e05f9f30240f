/** A QoS 0 message for thousands: a part of its copies in each turn, and nothing of the same publisher overtakes it. */
import { afterEach, expect, test } from 'vitest'
import type { Connection } from '../../src/connection/connection.ts'
import { Flusher } from '../../src/connection/flusher.ts'
import { WIDE_RECEIVERS, WideCopies } from '../../src/connection/wide-copies.ts'
import type { Match } from '../../src/router/match.ts'
import { type EmbeddedBroker, embedBroker } from '../support/broker-inline.ts'
import { RawClient } from '../support/raw-client.ts'
import { encodeRawPublish } from '../support/raw-packets.ts'

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** A publisher's connection that tells what is copied for it, and when it is held. */
function publisher(story: string[]): Connection {
  const copy = (
    _match: Match,
    _v5: boolean,
    bytes: Buffer,
    _start: number,
    _end: number,
    _n: number,
    a: number,
    b: number,
  ) => void story.push(`${bytes} ${a}-${b}`)
  const core = {
    flusher: new Flusher(),
    memory: { heldBytes: 0, published: () => {} },
    backpressure: { publisher: null },
    router: { copy },
  }
  const connection = { version5: false, hold: () => story.push('hold'), release: () => story.push('release'), core }
  return connection as unknown as Connection
}

const receivers = (length: number): Match => ({ receivers: { length } }) as unknown as Match

test('goes out part by part, run after run, while its publisher is held', async () => {
  const story: string[] = []
  const wide = new WideCopies(publisher(story))
  const read = Buffer.from('..one..two')
  wide.add(receivers(1100), read, 2, 5, 1)
  wide.add(receivers(600), read, 7, 10, 1)
  // The next read goes into the same memory.
  read.fill('x')
  expect(story).toEqual(['hold', 'one 0-512'])
  await turn()
  expect(story.slice(2)).toEqual(['one 512-1024'])
  for (let i = 0; i < 5; i++) await turn()
  expect(story.slice(3)).toEqual(['one 1024-1100', 'two 0-512', 'two 512-600', 'release'])
})

test('goes out at once when something follows that must not overtake it', async () => {
  const story: string[] = []
  const wide = new WideCopies(publisher(story))
  wide.add(receivers(2000), Buffer.from('one'), 0, 3, 1)
  wide.add(receivers(2000), Buffer.from('two'), 0, 3, 1)
  wide.finish()
  const copied = ['hold', 'one 0-512', 'one 512-2000', 'two 0-2000']
  expect(story).toEqual(copied)
  for (let i = 0; i < 5; i++) await turn()
  expect(story).toEqual([...copied, 'release'])
})

let broker: EmbeddedBroker | null = null
afterEach(() => broker?.stop())

test('all of very many receivers get everything, in order [v5 MQTT-4.6.0-6] [v3 MQTT-4.6.0-6]', async () => {
  broker = await embedBroker()
  const count = WIDE_RECEIVERS + 76
  const got: string[][] = []
  for (let from = 0; from < count; from += 100) {
    const some = Array.from({ length: Math.min(100, count - from) }, async (_, i) => {
      const client = await RawClient.connected(broker!.mqtt, { clientId: `r${from + i}` })
      const mine: string[] = []
      got.push(mine)
      client.onPacket = (packet) => packet.type === 'publish' && mine.push(String(packet.payload)) > 0
      await client.subscribe('all')
    })
    await Promise.all(some)
  }
  const sender = await RawClient.connected(broker.mqtt, { clientId: 'sender' })
  const publish = (payload: string, retain = false): Buffer => encodeRawPublish({ topic: 'all', payload, retain })
  const expected: string[] = []
  const round = (n: number): Buffer => {
    const packets: Buffer[] = []
    for (let i = 0; i < 20; i++) packets.push(publish(`${n}.${i}`))
    // Of another form: no part of a run.
    packets.push(publish(`${n}.kept`, true), publish(`${n}.last`))
    for (let i = 0; i < 20; i++) expected.push(`${n}.${i}`)
    expected.push(`${n}.kept`, `${n}.last`)
    return Buffer.concat(packets)
  }
  for (let n = 0; n < 5; n++) {
    sender.send(round(n))
    if (n % 2 === 0) await sender.ping()
  }
  await expect.poll(() => got.every((mine) => mine.length >= expected.length), { timeout: 15_000 }).toBe(true)
  for (const mine of got) expect(mine).toEqual(expected)
}, 60_000)
