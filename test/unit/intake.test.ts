import { Duplex } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { Intake, type PacketSink } from '../../src/connection/intake.ts'
import { Memory } from '../../src/connection/memory.ts'
import type { ByteStream } from '../../src/transport.ts'

class StandInStream implements ByteStream {
  readonly peer = { protocol: 'stream', address: '', port: 0 } as const
  readonly source = new Duplex()
  readonly bufferedBytes = 0
  paused = false
  setHandler(): void {}
  write(): boolean {
    return true
  }
  pause(): void {
    this.paused = true
  }
  resume(): void {
    this.paused = false
  }
  end(): void {}
  destroy(): void {}
}

/** Notes the first payload byte of each packet, and holds after each when told to. */
class Notes implements PacketSink {
  readonly seen: string[] = []
  intake: Intake | null = null
  holds = false
  frame(buf: Buffer, start: number, _body: number, end: number): boolean {
    this.seen.push(buf.toString('latin1', start + 2, end))
    if (this.holds) this.intake!.hold()
    return this.intake!.open
  }
  failed(error: unknown): void {
    throw error
  }
}

function packet(text: string): Buffer {
  return Buffer.from([0x30, text.length, ...Buffer.from(text)])
}

function start(): { intake: Intake; notes: Notes; stream: StandInStream } {
  const stream = new StandInStream()
  const notes = new Notes()
  const intake = new Intake(stream, 1000, new Memory(2 ** 40), notes)
  notes.intake = intake
  return { intake, notes, stream }
}

describe('what waits while reading is held back', () => {
  test('survives that the next read goes into the same memory', () => {
    const { intake, notes, stream } = start()
    const memory = Buffer.concat([packet('one'), packet('two'), packet('three')])
    notes.holds = true
    intake.data(memory)
    memory.fill(0xff)
    expect(notes.seen).toEqual(['one'])
    expect(stream.paused).toBe(true)
    intake.release()
    intake.release()
    expect(notes.seen).toEqual(['one', 'two', 'three'])
  })

  test('comes before what is read later, which is kept as well', () => {
    const { intake, notes } = start()
    intake.pause()
    const memory = Buffer.concat([packet('one'), packet('two')])
    intake.data(memory)
    packet('END').copy(memory)
    intake.data(memory.subarray(0, 5))
    memory.fill(0xff)
    intake.resume()
    expect(notes.seen).toEqual(['one', 'two', 'END'])
  })

  test('may end within a packet, at every place', () => {
    const whole = Buffer.concat([packet('one'), packet('two'), packet('three')])
    for (let cut = 1; cut < whole.length; cut++) {
      const { intake, notes } = start()
      const memory = Buffer.from(whole.subarray(0, cut))
      intake.data(memory)
      memory.fill(0xff)
      intake.data(Buffer.from(whole.subarray(cut)))
      expect(notes.seen, `cut at ${cut}`).toEqual(['one', 'two', 'three'])
    }
  })
})
