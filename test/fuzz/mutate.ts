/** Ways to spoil packets. Everything is chosen by `random`: the same seed spoils in the same way. */
import { varint } from '../support/raw-packets.ts'
import type { SeededRandom } from '../support/seeded-random.ts'

/** A packet on its way, and whether it is still what was recorded. */
export interface Said {
  readonly bytes: Buffer
  readonly mutated: boolean
}

const interestingBytes = [0x00, 0x01, 0x02, 0x0f, 0x10, 0x7f, 0x80, 0x81, 0xc0, 0xfe, 0xff]
const interestingLengths = [0, 1, 2, 127, 128, 255, 256, 16_383, 16_384, 0x7fff, 0xffff]

type ByteMutation = (bytes: Buffer, random: SeededRandom, other: Buffer) => Buffer

/** Splits a packet into first byte and body, whatever its length claims. */
function bodyOf(packet: Buffer): Buffer {
  let at = 1
  while (at < 5 && (packet[at] ?? 0) > 127) at++
  return packet.subarray(at + 1)
}

/** The packet with another body and a length that fits it: the mutation gets past the frame reader. */
function reframed(packet: Buffer, body: Buffer): Buffer {
  return Buffer.concat([packet.subarray(0, 1), varint(body.length), body])
}

function flipBits(bytes: Buffer, random: SeededRandom): Buffer {
  const out = Buffer.from(bytes)
  for (let i = random.int(1, 4); i > 0 && out.length > 0; i--)
    out[random.int(0, out.length - 1)]! ^= 1 << random.int(0, 7)
  return out
}

function putByte(bytes: Buffer, random: SeededRandom): Buffer {
  const out = Buffer.from(bytes)
  if (out.length > 0) out[random.int(0, out.length - 1)] = random.pick(interestingBytes)
  return out
}

/** A two-byte length somewhere inside says something else. */
function lieInside(bytes: Buffer, random: SeededRandom): Buffer {
  const out = Buffer.from(bytes)
  if (out.length < 2) return out
  const at = random.int(0, Math.min(out.length - 2, 40))
  const told = out.readUInt16BE(at)
  const lie = random.pick([told + 1, told - 1, told ^ 0xff, ...interestingLengths])
  out.writeUInt16BE(lie & 0xffff, at)
  return out
}

function cutOut(bytes: Buffer, random: SeededRandom): Buffer {
  const from = random.int(0, bytes.length)
  return Buffer.concat([bytes.subarray(0, from), bytes.subarray(from + random.int(1, 8))])
}

function putIn(bytes: Buffer, random: SeededRandom): Buffer {
  const at = random.int(0, bytes.length)
  const stray = Buffer.from(Array.from({ length: random.int(1, 8) }, () => random.int(0, 255)))
  return Buffer.concat([bytes.subarray(0, at), stray, bytes.subarray(at)])
}

/** The beginning of one and the end of the other. */
function splice(bytes: Buffer, random: SeededRandom, other: Buffer): Buffer {
  return Buffer.concat([
    bytes.subarray(0, random.int(0, bytes.length)),
    other.subarray(random.int(0, Math.max(0, other.length - 1))),
  ])
}

/** A stretch of the packet once more, or many times. */
function repeat(bytes: Buffer, random: SeededRandom): Buffer {
  const from = random.int(0, bytes.length)
  const stretch = bytes.subarray(from, from + random.int(1, 12))
  const times = random.pick([2, 3, 50])
  return Buffer.concat([bytes.subarray(0, from), ...Array(times).fill(stretch), bytes.subarray(from + stretch.length)])
}

/** On the body alone; the length is made to fit. */
const inside: readonly ByteMutation[] = [
  flipBits,
  flipBits,
  putByte,
  lieInside,
  lieInside,
  cutOut,
  putIn,
  (bytes, random, other) => splice(bytes, random, bodyOf(other)),
  repeat,
]

/** On the whole packet: what follows may be read as part of it. */
const outside: readonly ByteMutation[] = [
  flipBits,
  putByte,
  splice,
  (bytes, random) => bytes.subarray(0, random.int(0, bytes.length)),
  (bytes, random) => Buffer.concat([Buffer.from([random.int(0, 255)]), bytes.subarray(1)]),
  (bytes, random) => Buffer.concat([bytes.subarray(0, 1), lengthLie(bytes, random), bodyOf(bytes)]),
]

function lengthLie(bytes: Buffer, random: SeededRandom): Buffer {
  const told = bodyOf(bytes).length
  const tooLong = Buffer.from([0xff, 0xff, 0xff, 0xff, random.int(0, 255)])
  const padded = Buffer.concat([Buffer.from([(told & 127) | 0x80]), Buffer.from([0x80, 0x00])])
  return random.pick([
    varint(told + 1),
    varint(Math.max(0, told - 1)),
    varint(0),
    varint(random.pick(interestingLengths)),
    varint(268_435_455),
    tooLong,
    padded,
  ])
}

/** One packet spoiled. @param other a packet to take parts from */
export function spoil(packet: Buffer, random: SeededRandom, other: Buffer): Buffer {
  if (random.chance(0.75)) return reframed(packet, random.pick(inside)(bodyOf(packet), random, other))
  return random.pick(outside)(packet, random, other)
}

/**
 * Spoils a conversation: some of its packets, and sometimes their order. The first packet is mostly left alone, because
 * after a CONNECT that is wrong nothing else is looked at.
 *
 * @param foreign packets of another conversation, to be put in or spliced
 */
export function mutate(packets: readonly Buffer[], random: SeededRandom, foreign: readonly Buffer[]): Said[] {
  const said: Said[] = packets.map((bytes) => ({ bytes, mutated: false }))
  const first = random.chance(0.12) ? 0 : 1
  for (let i = random.pick([1, 1, 2, 3, 5, 8]); i > 0; i--) {
    const at = random.int(Math.min(first, said.length - 1), said.length - 1)
    const { bytes } = said[at]!
    const what = random.int(0, 19)
    if (what === 0) said.splice(at, 0, { bytes, mutated: true })
    else if (what === 1)
      said.splice(
        random.int(first, said.length - 1),
        0,
        ...said.splice(at, 1).map(({ bytes }) => ({ bytes, mutated: true })),
      )
    else if (what === 2) said.splice(at, 0, { bytes: random.pick(foreign), mutated: true })
    else if (what === 3 && said.length > 2) said.splice(at, 1)
    else said[at] = { bytes: spoil(bytes, random, random.pick(random.chance(0.5) ? foreign : packets)), mutated: true }
  }
  return said
}

/** Cuts the bytes at random: all at once, packet by packet, in segments, or byte by byte at the beginning. */
export function inPieces(said: readonly Said[], random: SeededRandom): Buffer[] {
  const packets = said.map(({ bytes }) => bytes)
  const manner = random.int(0, 9)
  if (manner < 4) return [Buffer.concat(packets)]
  if (manner < 6) return packets
  const all = Buffer.concat(packets)
  const pieces: Buffer[] = []
  for (let at = 0; at < all.length; ) {
    const size = manner === 9 && at < 30 ? 1 : random.int(1, manner < 8 ? 60 : 3000)
    pieces.push(all.subarray(at, at + size))
    at += size
    if (pieces.length >= 60) {
      pieces.push(all.subarray(at))
      break
    }
  }
  return pieces.filter((piece) => piece.length > 0)
}
