import { Duplex } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { Flusher } from '../../src/connection/flusher.ts'
import { Memory } from '../../src/connection/memory.ts'
import { Outbound } from '../../src/connection/outbound.ts'
import { Counters } from '../../src/telemetry/counters.ts'
import { type ByteStream, READ_BYTES } from '../../src/transport.ts'
import { encodePublish as encodePlain } from '../../src/wire/client-packets.ts'
import { PublishFrame } from '../../src/wire/publish.ts'
import { encodePublish } from '../../src/wire/publish-writer.ts'
import { readVarint } from '../../src/wire/varint.ts'

/** Keeps what is written, and gives memory back only when told. */
class StandInStream implements ByteStream {
  readonly peer = { protocol: 'stream', address: '', port: 0 } as const
  readonly source = new Duplex()
  takes = true
  bufferedBytes = 0
  readonly writes: Buffer[] = []
  readonly waiting: (() => void)[] = []
  setHandler(): void {}
  write(bytes: Buffer, written?: () => void): boolean {
    this.writes.push(bytes)
    if (!this.takes) {
      this.bufferedBytes += bytes.length
      if (written) this.waiting.push(written)
    } else written?.()
    return true
  }
  pause(): void {}
  resume(): void {}
  end(): void {}
  destroy(): void {}
}

function start(): { out: Outbound; stream: StandInStream } {
  const stream = new StandInStream()
  return { stream, out: new Outbound(stream, new Flusher(), new Counters(), new Memory(2 ** 40), { stalls: () => {} }) }
}

describe('room for more', () => {
  test('is not lost by what gathers within one turn', () => {
    const { out, stream } = start()
    for (let i = 0; i < 10; i++) out.append(Buffer.alloc(10_000, 'a'), 0, 10_000)
    expect(stream.bufferedBytes).toBe(0)
    expect(out.waitingBytes).toBeGreaterThan(9000)
    expect(out.hasRoom(5000)).toBe(true)
    expect(Buffer.concat(stream.writes).length).toBe(100_000)
  })

  test('is lost to a reader that takes nothing, and comes back when it does', () => {
    const { out, stream } = start()
    stream.takes = false
    out.append(Buffer.alloc(100_000, 'a'), 0, 100_000)
    expect(out.hasRoom(65_536)).toBe(false)
    expect(out.hasRoom(100_001)).toBe(true)
    stream.bufferedBytes = 0
    expect(out.hasRoom(65_536)).toBe(true)
  })
})

test('what came with one read is copied, because the next read goes into the same memory', () => {
  const { out, stream } = start()
  const read = Buffer.alloc(READ_BYTES, 'a')
  out.append(read, 0, read.length)
  read.fill('b')
  out.flush()
  expect(Buffer.concat(stream.writes).equals(Buffer.alloc(READ_BYTES, 'a'))).toBe(true)
})

describe('a PUBLISH for one receiver', () => {
  // Larger than a small slab, than the middle ones, and than any.
  const sizes = [0, 16, 31, 32, 33, 900, 5000, 70_000, READ_BYTES + 1]

  test.each(sizes)('is the same bytes encoded where it is sent from as encoded before, payload of %i bytes', (size) => {
    for (const version5 of [false, true]) {
      for (const prefix of version5 ? [null, Buffer.from([0x0b, 7])] : [null]) {
        const frame = new PublishFrame()
        const properties = { messageExpiryInterval: 77, userProperties: [['a', 'b'] as [string, string]] }
        const payload = Buffer.alloc(size, 'p')
        const fields = { topic: 'some/topic', qos: 1 as const, packetId: 9, payload }
        const packet = encodePlain(version5 ? 5 : 4, version5 ? { ...fields, properties } : fields)
        frame.parse(packet, 0, packet.length - remainingOf(packet), packet.length, version5)
        const plain = start()
        const direct = start()
        for (const packetId of [1, 0x1234]) {
          plain.out.publish(encodePublish(frame, version5, true, prefix), 0x3a, packetId)
          direct.out.encode(frame, version5, prefix, 0x3a, packetId)
        }
        plain.out.flush()
        direct.out.flush()
        const sent = Buffer.concat(direct.stream.writes)
        expect(sent.equals(Buffer.concat(plain.stream.writes))).toBe(true)
        expect(sent.length).toBeGreaterThan(2 * size)
        expect(direct.out.packets).toBe(2)
      }
    }
  })
})

/** The Remaining Length of a packet. */
function remainingOf(packet: Buffer): number {
  return readVarint(packet, 1, packet.length)
}
