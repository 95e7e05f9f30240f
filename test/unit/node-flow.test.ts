import { describe, expect, it } from 'vitest'
import { ASKED_EVERY_MS, Inflow, Outflow, TOLD_EVERY_BYTES } from '../../src/clusters/redis/flow.ts'
import { RemoteNode } from '../../src/nodes/remote-node.ts'
import type { Lane } from '../../src/store.ts'

const KIB = 1024

describe('live messages under way to another node', () => {
  it('are what was sent and not taken', () => {
    const flow = new Outflow()
    expect(flow.send(100)).toBe(100)
    expect(flow.send(50)).toBe(150)
    expect(flow.untaken).toBe(150)
    flow.took(100)
    expect(flow.untaken).toBe(50)
  })

  it('those lost on the way count as taken once later ones are', () => {
    const flow = new Outflow()
    flow.send(100)
    const at = flow.send(10)
    flow.took(at)
    expect(flow.untaken).toBe(0)
  })

  it('an answer that was overtaken changes nothing, and none takes more than was sent', () => {
    const flow = new Outflow()
    flow.send(100)
    flow.took(90)
    flow.took(20)
    expect(flow.untaken).toBe(10)
    flow.took(1_000_000)
    expect(flow.untaken).toBe(0)
  })

  it('who finds no room asks once a second', () => {
    const flow = new Outflow()
    expect([0, 1, ASKED_EVERY_MS - 1, ASKED_EVERY_MS, ASKED_EVERY_MS + 1].map((now) => flow.asks(now))).toEqual([
      true,
      false,
      false,
      true,
      false,
    ])
  })

  it('the one who takes them tells every 64 KiB, and when asked', () => {
    const flow = new Inflow()
    expect(flow.took(TOLD_EVERY_BYTES - 1, false)).toBe(false)
    expect(flow.took(TOLD_EVERY_BYTES, false)).toBe(true)
    expect(flow.took(TOLD_EVERY_BYTES + 1, false)).toBe(false)
    expect(flow.took(TOLD_EVERY_BYTES + 1, true)).toBe(true)
    expect(flow.took(2 * TOLD_EVERY_BYTES + 1, false)).toBe(true)
  })
})

describe('a node that does not keep up', () => {
  function remote() {
    const heard = { full: 0, drained: 0, dropped: 0, sent: 0 }
    const way = { untaken: 0, open: true, now: 0 }
    const cluster = {
      send: (_to: string, frames: Buffer) => {
        if (!way.open) return false
        heard.sent++
        way.untaken += frames.length
        return true
      },
      untaken: () => way.untaken,
    }
    const backpressure = {
      full: () => {
        heard.full++
      },
      drained: () => {
        heard.drained++
      },
    }
    const dropped = (count: number): void => {
      heard.dropped += count
    }
    const clock = { now: () => ++way.now }
    return { node: new RemoteNode('b', {} as Lane, { cluster, backpressure, dropped, clock }), heard, way }
  }

  it('slows publishers down from the next message on, until it has taken nearly everything', () => {
    const { node, heard, way } = remote()
    node.live(Buffer.alloc(700 * KIB), '')
    expect(heard).toMatchObject({ full: 0, sent: 1 })
    node.live(Buffer.alloc(300 * KIB), '')
    expect(heard.full).toBe(0)
    node.live(Buffer.alloc(1), '')
    node.live(Buffer.alloc(1), '')
    expect(heard.full).toBe(2)
    way.untaken = 200 * KIB
    node.taken()
    expect(heard.drained).toBe(0)
    way.untaken = 100 * KIB
    node.taken()
    node.taken()
    expect(heard.drained).toBe(1)
    node.live(Buffer.alloc(1), '')
    expect(heard.full).toBe(2)
  })

  it('counts what cannot be sent, and holds nobody when it is gone', () => {
    const { node, heard, way } = remote()
    way.open = false
    for (let i = 0; i < 3; i++) node.live(Buffer.alloc(10), '')
    node.flush()
    expect(heard).toMatchObject({ dropped: 3, sent: 0 })
    node.gone()
    expect(heard.drained).toBe(1)
  })

  it('what goes out together came at one time', () => {
    const { node } = remote()
    const first = node.time
    node.live(Buffer.alloc(10), '')
    expect(node.time).toBe(first)
    node.flush()
    expect(node.time).toBeGreaterThan(first)
  })
})
