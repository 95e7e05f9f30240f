/**
 * Bad days of the disk, with the real LMDB store: full, read-only, slow, and an I/O error in the middle of a commit. What needs the
 * store is refused honestly, the rest goes on, and everything recovers without a restart.
 */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { SluiceError } from '../../src/errors.ts'
import { type EmbeddedBroker, embedBroker } from '../support/broker-inline.ts'
import { BrokerProcess } from '../support/broker-process.ts'
import { RawClient } from '../support/raw-client.ts'
import type { RawConnect } from '../support/raw-packets.ts'

const kept = (clientId: string): RawConnect => ({
  clientId,
  version: 5,
  clean: false,
  properties: { sessionExpiryInterval: 3600 },
})

/** Publishes with QoS 1; the reason code of the PUBACK. */
async function publish(client: RawClient, topic: string, bytes = 10): Promise<number> {
  const packetId = client.startPublish({ topic, payload: Buffer.alloc(bytes, 'x'), qos: 1 })
  return (await client.expect('puback', (packet) => packet.packetId === packetId, 15_000)).code
}

describe('a broker whose data file may not grow', () => {
  let broker: BrokerProcess | null = null
  afterEach(() => broker?.stop())

  test('refuses what it cannot keep, says so, goes on with the rest, and takes more once some is acknowledged', async () => {
    broker = await BrokerProcess.start({ config: { log: { level: 'warn' } }, fileBytesMax: 6_000_000 })
    const health = async () => (await fetch(`${broker!.http}/health/ready`)).status
    const reader = await RawClient.connected(broker.mqtt, kept('reader'))
    await reader.subscribe(['kept', 1])
    await reader.disconnect()
    const live = await RawClient.connected(broker.mqtt, { version: 5 })
    await live.subscribe(['live', 1])
    const client = await RawClient.connected(broker.mqtt, { version: 5 })
    let taken = 0
    for (let code = 0; code === 0; taken++) {
      code = await publish(client, 'kept', 200_000)
      // The write that hits the limit is cut short, which is told as an I/O error; those after it find no room.
      expect([0, 0x80, 0x97]).toContain(code)
      expect(taken).toBeLessThan(100)
    }
    taken--
    expect(taken).toBeGreaterThan(5)
    expect(await publish(client, 'kept', 200_000)).toBeGreaterThanOrEqual(0x80)
    expect(await health()).toBe(503)
    expect(await (await fetch(`${broker.http}/metrics`)).text()).toMatch(/sluicemq_store_commit_failures_total [1-9]/)
    // What is not kept goes on; MQTT 3.1.1 hears no acknowledgement for what is.
    expect(await publish(client, 'live')).toBe(0)
    await live.receive()
    const old = await RawClient.connected(broker.mqtt)
    old.startPublish({ topic: 'kept', payload: Buffer.alloc(200_000), qos: 1 })
    await old.expectClosed()
    expect(old.takeAll('puback')).toEqual([])
    // The reader, whose session is on the disk, takes what was accepted and makes room.
    await expect
      .poll(
        async () => {
          const back = await RawClient.open(broker!.mqtt)
          const { code } = await back.connect(kept('reader'))
          if (code !== 0) return -1
          back.autoAck = true
          const got = (await back.expectPublishes(taken, 10_000)).length
          await back.ping()
          await back.disconnect()
          return got
        },
        { timeout: 20_000 },
      )
      .toBe(taken)
    await expect.poll(() => publish(client, 'kept', 200_000), { timeout: 10_000 }).toBe(0)
    await expect.poll(health).toBe(200)
  }, 60_000)
})

describe('a disk', () => {
  let broker: EmbeddedBroker | null = null
  afterEach(() => broker?.stop())

  /** A broker with a session that is away, and clients that publish and listen. */
  async function ready() {
    broker = await embedBroker({ store: 'lmdb' })
    const told: string[] = []
    broker.events.on('commitFailed', ({ code }) => told.push(`failed ${code}`))
    broker.events.on('commitRecovered', () => told.push('recovered'))
    const reader = await RawClient.connected(broker.mqtt, kept('reader'))
    await reader.subscribe(['kept', 2])
    await reader.disconnect()
    const live = await RawClient.connected(broker.mqtt, { version: 5 })
    await live.subscribe(['#', 0])
    const client = await RawClient.connected(broker.mqtt, { version: 5 })
    const heard = async (): Promise<string[]> => {
      const back = await RawClient.connected(broker!.mqtt, kept('reader'))
      back.autoAck = true
      await back.ping()
      const got = await back.payloadsWithin(300)
      await back.disconnect()
      return got
    }
    return { broker, told, live, client, heard }
  }

  const refusals: [name: string, error: SluiceError, code: number][] = [
    ['that became read-only', new SluiceError('store_unavailable', 'EROFS: read-only file system'), 0x80],
    ['with an I/O error', new SluiceError('store_unavailable', 'EIO: i/o error'), 0x80],
    ['that is full', new SluiceError('store_full', 'ENOSPC: no space left on device'), 0x97],
  ]
  for (const [name, error, code] of refusals) {
    test(`${name} refuses what has to be kept with its reason code, serves the rest, and recovers`, async () => {
      const { broker, told, live, client, heard } = await ready()
      broker.faults.failing = true
      broker.faults.error = error
      expect(await publish(client, 'kept')).toBe(code)
      const two = client.startPublish({ topic: 'kept', payload: 'two', qos: 2 })
      expect((await client.expect('pubrec', ({ packetId }) => packetId === two)).code).toBe(code)
      client.startPublish({ topic: 'kept', payload: 'zero' })
      await client.ping()
      expect((await live.expectPublishes(3)).map(({ payload }) => payload.toString())).toContain('zero')
      expect(told.length).toBeGreaterThan(0)
      expect(new Set(told)).toEqual(new Set([`failed ${error.code}`]))
      broker.faults.heal()
      client.startPublish({ topic: 'kept', payload: 'after', qos: 1 })
      expect((await client.expect('puback')).code).toBe(0)
      expect(told.at(-1)).toBe('recovered')
      expect(await heard()).toEqual(['after'])
    })
  }

  test('that takes 500 ms for a commit slows acknowledgements, gathers them in groups, and holds up nothing else', async () => {
    const { broker, live, client, heard } = await ready()
    broker.faults.delayMs = 500
    // Until it is seen that nothing else waits.
    broker.faults.hold()
    const started = performance.now()
    const packetIds = [...new Array(200).keys()].map((i) =>
      client.startPublish({ topic: 'kept', payload: `${i}`, qos: 1 }),
    )
    const other = await RawClient.connected(broker.mqtt, { version: 5 })
    other.startPublish({ topic: 'passing', payload: 'at once' })
    await live.expect('publish', ({ topic }) => topic === 'passing')
    // Not held up by the disk, which has written nothing yet.
    expect(client.takeAll('puback')).toEqual([])
    broker.faults.release()
    for (const packetId of packetIds)
      expect((await client.expect('puback', (packet) => packet.packetId === packetId)).code).toBe(0)
    // Two hundred acknowledgements in a few commits, not one each.
    expect(performance.now() - started).toBeLessThan(10_000)
    broker.faults.heal()
    expect(await heard()).toEqual(packetIds.map((_, i) => `${i}`))
  })
})

test('a data directory that cannot be written is refused at start with exit code 74', async () => {
  // A directory where the file should be: nobody, root neither, can open it as a file.
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'sluicemq-disk-'))
  try {
    fs.mkdirSync(`${dir}/sluicemq.mdb`)
    const failed = BrokerProcess.start({ dataDir: dir })
    await expect(failed).rejects.toThrow('the broker ended (74) before it was ready')
  } finally {
    fs.rmSync(dir, { recursive: true, force: true })
  }
})
