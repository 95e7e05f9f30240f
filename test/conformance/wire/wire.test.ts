import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { SluiceError } from '../../../src/errors.ts'
import type { ProtocolVersion } from '../../../src/wire/versions.ts'
import { bodyStart, decodeBody, decodePacket, type Sender } from './decode.ts'

/** One packet in hex and what the decoder must make of it. The hex was not made with our encoder. */
interface WireCase {
  name: string
  clause: string
  version: ProtocolVersion
  /** Default: client. */
  sender?: Sender
  hex: string
  /** 'ok' or the code of the error. */
  expect: string
  /** Fields the decoded packet must have, buffers in hex; null: absent or null. */
  fields?: Record<string, unknown>
  /** Lengths at which the body, cut short, is a valid shorter packet. */
  shorterBodies?: number[]
  /** From this length on every shorter body is valid (the payload of a PUBLISH). */
  shorterBodiesFrom?: number
}

const folder = new URL('.', import.meta.url)
const files = readdirSync(folder).filter((name) => name.endsWith('.json'))
const load = (file: string): WireCase[] => JSON.parse(readFileSync(new URL(file, folder), 'utf8'))

/** The error code `run` ends with, or 'ok'. Anything but a SluiceError is a bug and is thrown on. */
function outcome(run: () => unknown): string {
  try {
    run()
    return 'ok'
  } catch (error) {
    if (error instanceof SluiceError) return error.code
    throw error
  }
}

/** The decoded value cut down to the shape of `wanted`, for a readable comparison. */
function shaped(wanted: unknown, value: unknown): unknown {
  if (Buffer.isBuffer(value)) return value.toString('hex')
  if (wanted === null || typeof wanted !== 'object') return value ?? null
  if (Array.isArray(wanted)) return Array.isArray(value) ? value.map((one, i) => shaped(wanted[i], one)) : value
  const from = (value ?? {}) as Record<string, unknown>
  return Object.fromEntries(Object.entries(wanted).map(([key, one]) => [key, shaped(one, from[key])]))
}

it('every packet type has cases', () => {
  const types = new Set(files.flatMap(load).map((one) => Number.parseInt(one.hex[0]!, 16)))
  expect([...types].sort((a, b) => a - b)).toEqual(Array.from({ length: 16 }, (_, i) => i))
})

for (const file of files) {
  describe(`wire/${file}`, () => {
    for (const one of load(file)) {
      it(`${one.name} → ${one.expect} [${one.clause}]`, () => {
        const buf = Buffer.from(one.hex, 'hex')
        expect(outcome(() => decodePacket(buf, one.version, one.sender))).toBe(one.expect)
        if (one.fields === undefined) return
        const packet = decodePacket(buf, one.version, one.sender)
        expect(shaped(one.fields, packet)).toEqual(one.fields)
      })
    }

    it('every valid packet, cut short anywhere, is refused or is a valid shorter packet listed as such', () => {
      for (const one of load(file)) {
        if (one.expect !== 'ok') continue
        const buf = Buffer.from(one.hex, 'hex')
        const start = bodyStart(buf)
        for (let length = 0; start + length < buf.length; length++) {
          const cut = () => decodeBody(buf[0]! >> 4, buf[0]! & 15, buf, start, start + length, one.version, one.sender)
          const valid = one.shorterBodies?.includes(length) || length >= (one.shorterBodiesFrom ?? Infinity)
          const wanted = valid ? 'ok' : 'refused'
          const result = outcome(cut) === 'ok' ? 'ok' : 'refused'
          expect(`${one.name}, ${length} bytes: ${result}`).toBe(`${one.name}, ${length} bytes: ${wanted}`)
        }
      }
    })

    it('the bytes around a packet do not matter', () => {
      for (const one of load(file)) {
        const buf = Buffer.from(one.hex, 'hex')
        const start = bodyStart(buf)
        for (const filler of [0x00, 0x41, 0xff]) {
          const roomy = Buffer.alloc(buf.length + 64, filler)
          buf.copy(roomy, 32)
          const result = outcome(() =>
            decodeBody(buf[0]! >> 4, buf[0]! & 15, roomy, 32 + start, 32 + buf.length, one.version, one.sender),
          )
          expect(`${one.name}: ${result}`).toBe(`${one.name}: ${one.expect}`)
        }
      }
    })
  })
}
