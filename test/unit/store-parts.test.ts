/** The small parts of the embedded store, each against a plain model. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { StoredChunk } from '../../src/stores/embedded/chunk.ts'
import { ChunkIndex } from '../../src/stores/embedded/chunk-index.ts'
import {
  chunkBytesMax,
  decodeChunk,
  decodeSegment,
  encodeChunk,
  encodeSegment,
  encodeSettled,
  segmentBytesMax,
  settledBits,
  settledBytes,
  settledCount,
} from '../../src/stores/embedded/formats.ts'
import {
  chunkKey,
  chunkKeyBytes,
  chunkKeyCount,
  chunkKeyHasRefs,
  keyId,
  keySeq,
  nameBytes,
  nameEnd,
  nameKey,
  nameRange,
  rangeEnd,
  sessionKey,
  sessionPrefix,
  table,
} from '../../src/stores/embedded/keys.ts'
import { EmbeddedLane } from '../../src/stores/embedded/lane.ts'
import { Segment } from '../../src/stores/embedded/segment.ts'
import { SortedMap } from '../../src/stores/embedded/sorted-map.ts'

const lane = new EmbeddedLane('q/a', { loadLane() {} })
const number48 = fc.integer({ min: 0, max: 2 ** 48 - 1 })
const bytes = fc.uint8Array({ maxLength: 60 }).map((array) => Buffer.from(array))
const name = fc.oneof(fc.string({ unit: 'binary', maxLength: 20 }), fc.string({ minLength: 470, maxLength: 2000 }))

const isWellFormed = (each: string): boolean => Buffer.from(each).toString() === each
const text = name.filter(isWellFormed)

describe('keys', () => {
  it('of chunks sort by lane, then by sequence number, and give their parts back', () => {
    const part = fc.tuple(
      number48,
      number48,
      fc.integer({ min: 1, max: 1024 }),
      fc.integer({ min: 0, max: 0xffffffff }),
      fc.boolean(),
    )
    fc.assert(
      fc.property(part, part, (a, b) => {
        const [ka, kb] = [chunkKey(...a), chunkKey(...b)]
        expect([keyId(ka), keySeq(ka), chunkKeyCount(ka), chunkKeyBytes(ka), chunkKeyHasRefs(ka)]).toEqual(a)
        if (a[0] !== b[0] || a[1] !== b[1])
          expect(ka.compare(kb) < 0).toBe(a[0] < b[0] || (a[0] === b[0] && a[1] < b[1]))
      }),
    )
  })

  it('differ for different names, short enough for the engine, and lie in the range of every prefix', () => {
    fc.assert(
      fc.property(text, text, fc.nat(30), (a, b, length) => {
        const [ka, kb] = [nameKey(table.lane, a), nameKey(table.lane, b)]
        expect(ka.equals(kb)).toBe(a === b)
        expect(ka.length).toBeLessThan(600)
        const prefix = a.slice(0, length)
        if (!isWellFormed(prefix)) return
        const range = nameRange(table.lane, prefix)
        expect(ka.compare(range.start)).toBeGreaterThanOrEqual(0)
        expect(ka.compare(range.end)).toBeLessThan(0)
      }),
    )
  })

  it('of a session lie together, apart from those of every other', () => {
    fc.assert(
      fc.property(text, text, bytes, (a, b, rest) => {
        const prefix = sessionPrefix(a)
        const own = sessionKey(prefix, 1, rest)
        expect(own.compare(prefix) > 0 && own.compare(rangeEnd(prefix)) < 0).toBe(true)
        expect(nameEnd(own, 1)).toBe(1 + nameBytes(a).length)
        if (a === b) return
        const other = sessionKey(sessionPrefix(b), 1, rest)
        expect(other.compare(prefix) > 0 && other.compare(rangeEnd(prefix)) < 0).toBe(false)
      }),
    )
  })
})

interface EntrySpec {
  body: Buffer
  tag: number
  extra: Buffer | null
  /** Segment it comes from, or -1. */
  source: number
}

const entrySpec: fc.Arbitrary<EntrySpec> = fc.record({
  body: bytes,
  tag: fc.oneof(fc.constant(7), fc.integer({ min: 0, max: 0xffffffff })),
  extra: fc.oneof({ weight: 3, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: bytes }),
  source: fc.integer({ min: -1, max: 2 }),
})

describe('a chunk', () => {
  it('reads back as it was written, from bodies of its own and of segments', () => {
    fc.assert(
      fc.property(fc.array(entrySpec, { minLength: 1, maxLength: 80 }), fc.array(fc.nat(79)), (specs, settled) => {
        const segments = [0, 1, 2].map((id) => new Segment(id + 100, 1, []))
        const chunk = new StoredChunk(lane, 5, 5)
        for (const { body, tag, extra, source } of specs) {
          const segment = segments[source] ?? null
          const index = segment === null ? 0 : segment.bodies!.push(body) - 1
          if (segment !== null) segment.bytes += body.length
          chunk.push(body, tag, extra, segment, index)
        }
        expect(specs.map((_, i) => chunk.messages[i])).toEqual(specs.map(({ body }) => body))
        const out = Buffer.alloc(chunkBytesMax(chunk) + 3)
        const end = encodeChunk(chunk, out, 3)
        const decoded = decodeChunk(out.subarray(3, end), chunk.count)
        expect(decoded.segmentIds).toEqual(chunk.segments.map(({ id }) => id))
        expect(decoded.runs).toEqual(chunk.runs)
        const tags = specs.map(({ tag }) => tag)
        expect(typeof decoded.tags === 'number' ? tags.map(() => decoded.tags) : decoded.tags).toEqual(tags)
        expect(decoded.extras).toEqual(
          specs.every(({ extra }) => extra === null) ? null : specs.map(({ extra }) => extra),
        )
        const own = specs.filter(({ source }) => source < 0)
        expect(own.map((_, i) => decoded.inline.at(i))).toEqual(own.map(({ body }) => body))
        expect(own.map((_, i) => decoded.inline.lengthOf(i))).toEqual(own.map(({ body }) => body.length))

        const done = new Set(settled.filter((i) => i < chunk.count))
        for (const i of done) expect(chunk.settle(i)).toBe(specs[i]!.body.length)
        for (const i of done) expect(chunk.settle(i)).toBe(-1)
        const record = encodeSettled(chunk)
        expect(settledCount(record)).toBe(done.size)
        expect(settledBytes(record)).toBe([...done].reduce((sum, i) => sum + specs[i]!.body.length, 0))
        const restored = StoredChunk.stored(
          lane,
          5,
          5,
          chunk.bytes,
          chunk.count,
          specs.map(({ body }) => body),
          decoded.tags,
          decoded.extras,
        )
        restored.restoreSettled(settledBits(record), settledCount(record), settledBytes(record))
        for (let i = 0; i < chunk.count; i++) {
          expect(chunk.isSettled(i)).toBe(done.has(i))
          expect(restored.isSettled(i)).toBe(done.has(i))
          const waits = [...new Array(chunk.count - i).keys()].some((k) => !done.has(i + k))
          expect(restored.waitsFrom(5 + i)).toBe(waits)
        }
        expect(restored.unsettled).toBe(chunk.count - done.size)
      }),
    )
  })

  it('that is damaged is refused, never read as something else beyond its end', () => {
    const chunk = new StoredChunk(lane, 1, 1)
    for (let i = 0; i < 20; i++) chunk.push(Buffer.alloc(i, i), i, i % 3 === 0 ? Buffer.from('x') : null, null, 0)
    const out = Buffer.alloc(chunkBytesMax(chunk))
    const value = out.subarray(0, encodeChunk(chunk, out, 0))
    for (let length = 0; length < value.length; length++) {
      expect(() => decodeChunk(value.subarray(0, length), 20)).toThrow(
        expect.objectContaining({ code: 'store_corrupt' }),
      )
    }
    fc.assert(
      fc.property(fc.nat(value.length - 1), fc.nat(255), (at, byte) => {
        const damaged = Buffer.from(value)
        damaged[at] = byte
        try {
          decodeChunk(damaged, 20)
        } catch (error) {
          expect(error).toMatchObject({ code: 'store_corrupt' })
        }
      }),
    )
  })

  it('shares the array of bodies with its segment while it holds nothing else', () => {
    const segment = new Segment(1, 0, [])
    const [a, b] = [new StoredChunk(lane, 1, 1), new StoredChunk(lane, 1, 1)]
    for (let i = 0; i < 10; i++) {
      const body = Buffer.from([i])
      segment.bodies!.push(body)
      a.push(body, 1, null, segment, i)
      b.push(body, 1, null, segment, i)
    }
    expect(a.messages).toBe(segment.bodies)
    a.settle(3)
    expect(b.messages[3]).toEqual(Buffer.from([3]))
    b.push(Buffer.from('own'), 1, null, null, 0)
    expect(b.messages).not.toBe(segment.bodies)
    expect(segment.bodies!.length).toBe(10)
    expect(b.messages.slice(0, 10)).toEqual(segment.bodies)
  })
})

it('a segment reads back as it was written', () => {
  fc.assert(
    fc.property(fc.array(bytes, { minLength: 1, maxLength: 50 }), (bodies) => {
      const segment = new Segment(1, 3, bodies)
      segment.bytes = bodies.reduce((sum, each) => sum + each.length, 0)
      const out = Buffer.alloc(segmentBytesMax(segment))
      expect(decodeSegment(out.subarray(0, encodeSegment(segment, out, 0)))).toEqual(bodies)
    }),
  )
})

it('the index of chunks finds what a search through all of them finds', () => {
  const ranges = fc.uniqueArray(fc.nat(60), { minLength: 1, maxLength: 30 })
  fc.assert(
    fc.property(ranges, fc.array(fc.nat(29)), (firsts, removed) => {
      const index = new ChunkIndex()
      let chunks = firsts.map((first) => {
        const chunk = new StoredChunk(lane, first * 4, first * 4)
        for (let i = 0; i <= first % 4; i++) chunk.push(Buffer.alloc(1), 0, null, null, 0)
        index.add(chunk)
        return chunk
      })
      for (const i of removed) {
        const chunk = chunks[i]
        if (chunk === undefined) continue
        index.remove(chunk)
        index.remove(chunk)
        chunks = chunks.filter((each) => each !== chunk)
      }
      const sorted = chunks.sort((a, b) => a.firstSeq - b.firstSeq)
      expect(index.all()).toEqual(sorted)
      expect(index.size).toBe(sorted.length)
      expect(index.last).toBe(sorted.at(-1))
      for (let seq = 0; seq < 260; seq++) {
        expect(index.holding(seq)).toBe(sorted.find((each) => each.firstSeq <= seq && seq < each.endSeq))
        expect(index.at(seq)).toBe(sorted.find((each) => each.firstSeq === seq))
        expect(index.endingAfter(seq)).toBe(sorted.find((each) => each.endSeq > seq))
      }
    }),
  )
})

it('the index of chunks holds nothing alive that was removed', async () => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const index = new ChunkIndex<{ firstSeq: number; endSeq: number }>()
  const refs = Array.from({ length: 100 }, (_, i) => {
    const chunk = { firstSeq: i * 10, endSeq: i * 10 + 10 }
    index.add(chunk)
    return new WeakRef(chunk)
  })
  for (let i = 0; i < 50; i++) index.remove(index.at(i * 10)!)
  // What a weak reference was made for lives until the turn is over.
  await new Promise((resolve) => setImmediate(resolve))
  collect()
  expect(refs.map((ref) => ref.deref() !== undefined)).toEqual(refs.map((_, i) => i >= 50))
  expect(index.size).toBe(50)
})

it('the sorted map behaves as a map that is sorted', () => {
  const key = fc.integer({ min: 0, max: 3000 }).map((n) => String.fromCharCode(n >>> 8, n & 255))
  const change = fc.tuple(key, fc.boolean())
  fc.assert(
    fc.property(fc.array(change, { maxLength: 2500, size: 'max' }), key, key, (changes, low, high) => {
      const map = new SortedMap()
      const model = new Map<string, Buffer>()
      for (const [each, remove] of changes) {
        if (remove) {
          map.delete(each)
          model.delete(each)
        } else {
          const value = Buffer.from(each)
          map.set(each, value)
          model.set(each, value)
        }
      }
      const sorted = [...model].sort(([a], [b]) => (a < b ? -1 : 1))
      const found: [string, Buffer][] = []
      map.scan('', '\uffff', (each, value) => {
        found.push([each, value])
        return true
      })
      expect(found).toEqual(sorted)
      const between: string[] = []
      map.scan(low, high, (each) => {
        between.push(each)
        return true
      })
      expect(between).toEqual(sorted.map(([each]) => each).filter((each) => each >= low && each < high))
      expect(map.floorKey(high)).toBe(sorted.map(([each]) => each).findLast((each) => each <= high))
      expect(map.get(low)).toEqual(model.get(low))
      expect(map.bytes).toBe(sorted.reduce((sum, [each, value]) => sum + each.length + value.length, 0))
    }),
    { numRuns: 30 },
  )
})
