import { expect, test } from 'vitest'
import { Flusher } from '../../src/connection/flusher.ts'
import { Memory } from '../../src/connection/memory.ts'
import { Outbound } from '../../src/connection/outbound.ts'
import { Publication } from '../../src/router/publication.ts'
import { Pending } from '../../src/session/pending.ts'
import { Counters } from '../../src/telemetry/counters.ts'
import type { ByteStream } from '../../src/transport.ts'
import { encodeRawPublish } from '../support/raw-packets.ts'

test('levels begin at their share of the budget and end a tenth lower', () => {
  const memory = new Memory(1000)
  const levels: number[] = []
  memory.onLevel = (level) => levels.push(level)
  for (let i = 0; i < 100; i++) memory.add(10)
  expect(levels).toEqual([1, 2, 3, 4])
  memory.add(-100)
  expect(memory.level).toBe(4)
  memory.add(-1)
  expect(memory.level).toBe(3)
  memory.add(-899)
  expect(memory.heldBytes).toBe(0)
  expect(levels).toEqual([1, 2, 3, 4, 3, 0])
  memory.add(1000)
  expect(memory.level).toBe(4)
})

test('slow readers share a quarter of the budget, each at least 4 and at most 64 KiB', () => {
  const allowed = (budget: number, connections: number): number => {
    const memory = new Memory(budget)
    memory.connections = () => connections
    memory.add(budget / 2)
    return memory.slowReaderBytesMax
  }
  expect(allowed(2 ** 30, 10)).toBe(65_536)
  expect(allowed(2 ** 30, 10_000)).toBe(Math.floor(2 ** 28 / 10_000))
  expect(allowed(2 ** 20, 10_000)).toBe(4096)
})

test('the process as a whole keeps new clients out without touching those that are there', () => {
  const memory = new Memory(1000)
  memory.overall = true
  expect([memory.level, memory.refuses]).toEqual([0, true])
  memory.overall = false
  expect(memory.refuses).toBe(false)
})

/** A stream whose peer reads nothing until `read`. */
class FrozenStream {
  readonly peer = { protocol: 'tcp', address: '', port: 0 } as const
  waiting: { bytes: number; written: (() => void) | undefined }[] = []
  writes: number[] = []
  get bufferedBytes(): number {
    return this.waiting.reduce((sum, { bytes }) => sum + bytes, 0)
  }
  write(bytes: Buffer, written?: () => void): boolean {
    this.writes.push(bytes.length)
    this.waiting.push({ bytes: bytes.length, written })
    return this.bufferedBytes < 65_536
  }
  read(): void {
    for (const { written } of this.waiting.splice(0)) written?.()
  }
}

test('what waits for a frozen reader takes about as much memory as it has bytes, however small the packets', () => {
  const memory = new Memory(2 ** 40)
  const flusher = new Flusher()
  const stream = new FrozenStream()
  const out = new Outbound(stream as unknown as ByteStream, flusher, new Counters(), memory, { stalls: () => {} })
  const packet = encodeRawPublish({ topic: 't', payload: 'x'.repeat(15) })
  let bytes = 0
  for (let turn = 0; turn < 200_000; turn++) {
    out.append(packet, 0, packet.length)
    bytes += packet.length
    // Every packet in a turn of its own.
    flusher.flush()
  }
  expect(out.waitingBytes).toBe(bytes)
  expect(memory.heldBytes).toBe(out.heldBytes)
  // The first 64 KiB went to the stream in pieces of 1 KiB each, as for a reader that keeps up.
  expect(out.heldBytes).toBeLessThan(bytes * 1.2 + (65_536 / packet.length) * 1024 + 300_000)
  stream.read()
  out.drained()
  stream.read()
  expect(stream.writes.reduce((sum, length) => sum + length, 0)).toBe(bytes)
  expect([memory.heldBytes, out.heldBytes]).toEqual([0, 0])
})

test('a connection that closes gives back everything it held, once', () => {
  const memory = new Memory(2 ** 40)
  const flusher = new Flusher()
  const stream = new FrozenStream()
  const out = new Outbound(stream as unknown as ByteStream, flusher, new Counters(), memory, { stalls: () => {} })
  out.write(Buffer.alloc(500_000))
  out.write(Buffer.alloc(100))
  flusher.flush()
  out.write(Buffer.alloc(100))
  expect(memory.heldBytes).toBeGreaterThan(500_000)
  out.close()
  expect(memory.heldBytes).toBe(0)
  stream.read()
  out.write(Buffer.alloc(100))
  flusher.flush()
  expect(memory.heldBytes).toBe(0)
})

test('what a gentle close has to say is sent although the stream is full', () => {
  const flusher = new Flusher()
  const stream = new FrozenStream()
  const out = new Outbound(stream as unknown as ByteStream, flusher, new Counters(), new Memory(2 ** 40), {
    stalls: () => {},
  })
  out.write(Buffer.alloc(200_000))
  flusher.flush()
  out.write(Buffer.from([0xe0, 0]))
  flusher.flush()
  expect(stream.writes.at(-1)).not.toBe(2)
  out.flush()
  expect(stream.writes.at(-1)).toBe(2)
})

test('messages that wait for a session without a lane are counted until they are sent or given up', () => {
  const memory = new Memory(2 ** 40)
  const pending = new Pending(memory)
  const publication = new Publication()
  const packet = encodeRawPublish({ topic: 't', qos: 1, packetId: 1, payload: Buffer.alloc(1000) })
  publication.parse(packet, 0, 3, packet.length, false)
  for (let i = 0; i < 3; i++) pending.push(publication, publication.encoding(false, true), 0x32, false, 0, null)
  expect(memory.heldBytes).toBe(pending.bytes + 3 * 200)
  pending.shift()
  expect(memory.heldBytes).toBe(pending.bytes + 2 * 200)
  pending.clear()
  expect(memory.heldBytes).toBe(0)
})
