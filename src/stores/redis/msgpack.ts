/**
 * The part of MessagePack that aedes-persistence-redis writes: nil, booleans, numbers, strings, bytes, arrays, maps.
 * Source: the MessagePack specification (msgpack/spec.md).
 */
export type Packed = null | boolean | number | string | Buffer | Packed[] | { [key: string]: Packed }

/** @throws RangeError when the bytes end too early or hold something else */
export function unpack(bytes: Buffer): Packed {
  return new Unpacker(bytes).value()
}

class Unpacker {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  value(): Packed {
    const type = this.#uint(1)
    if (type < 0x80) return type
    if (type < 0x90) return this.#map(type & 0x0f)
    if (type < 0xa0) return this.#array(type & 0x0f)
    if (type < 0xc0) return this.#take(type & 0x1f).toString()
    if (type >= 0xe0) return type - 0x100
    switch (type) {
      case 0xc0:
        return null
      case 0xc2:
        return false
      case 0xc3:
        return true
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return this.#take(this.#uint(1 << (type - 0xc4)))
      case 0xca:
        return this.#take(4).readFloatBE()
      case 0xcb:
        return this.#take(8).readDoubleBE()
      case 0xcc:
      case 0xcd:
      case 0xce:
        return this.#uint(1 << (type - 0xcc))
      case 0xcf:
        return Number(this.#take(8).readBigUInt64BE())
      case 0xd0:
      case 0xd1:
      case 0xd2:
        return this.#take(1 << (type - 0xd0)).readIntBE(0, 1 << (type - 0xd0))
      case 0xd3:
        return Number(this.#take(8).readBigInt64BE())
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.#take(this.#uint(1 << (type - 0xd9))).toString()
      case 0xdc:
      case 0xdd:
        return this.#array(this.#uint(2 << (type - 0xdc)))
      case 0xde:
      case 0xdf:
        return this.#map(this.#uint(2 << (type - 0xde)))
      // msgpack-lite keeps a Buffer as an extension of type 0x1b.
      case 0xc7:
      case 0xc8:
      case 0xc9: {
        const length = this.#uint(1 << (type - 0xc7))
        this.#take(1)
        return this.#take(length)
      }
      default:
        throw new RangeError(`MessagePack type 0x${type.toString(16)}`)
    }
  }

  #uint(bytes: number): number {
    return this.#take(bytes).readUIntBE(0, bytes)
  }

  #take(length: number): Buffer {
    const end = this.#at + length
    if (end > this.#bytes.length) throw new RangeError('MessagePack ends too early')
    const taken = this.#bytes.subarray(this.#at, end)
    this.#at = end
    return taken
  }

  #array(length: number): Packed[] {
    return Array.from({ length }, () => this.value())
  }

  #map(length: number): { [key: string]: Packed } {
    const entries: [string, Packed][] = []
    for (let i = 0; i < length; i++) entries.push([String(this.value()), this.value()])
    return Object.fromEntries(entries)
  }
}

/** Packs a flat record; undefined values are left out. Numbers are whole and not negative. */
export function packRecord(record: Record<string, string | number | boolean | Buffer | undefined>): Buffer {
  const fields = Object.entries(record).filter(([, value]) => value !== undefined)
  const parts: Buffer[] = [Buffer.from([0xde, fields.length >> 8, fields.length & 255])]
  for (const [key, value] of fields) parts.push(packed(key), packed(value!))
  return Buffer.concat(parts)
}

function packed(value: string | number | boolean | Buffer): Buffer {
  if (typeof value === 'boolean') return Buffer.from([value ? 0xc3 : 0xc2])
  if (typeof value === 'number') {
    if (value < 0x80) return Buffer.from([value])
    const out = Buffer.alloc(9, 0xcf)
    out.writeBigUInt64BE(BigInt(value), 1)
    return value > 0xffffffff ? out : head(0xce, value)
  }
  if (Buffer.isBuffer(value)) return Buffer.concat([head(0xc6, value.length), value])
  const text = Buffer.from(value)
  return Buffer.concat([text.length < 32 ? Buffer.from([0xa0 | text.length]) : head(0xdb, text.length), text])
}

function head(type: number, value: number): Buffer {
  const out = Buffer.alloc(5, type)
  out.writeUInt32BE(value, 1)
  return out
}
