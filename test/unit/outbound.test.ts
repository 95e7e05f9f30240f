import { Duplex } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { Flusher } from '../../src/connection/flusher.ts'
import { Memory } from '../../src/connection/memory.ts'
import { Outbound } from '../../src/connection/outbound.ts'
import { Counters } from '../../src/telemetry/counters.ts'
import { type ByteStream, READ_BYTES } from '../../src/transport.ts'

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
