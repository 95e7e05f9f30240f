/** What is kept has memory of its own, or a few bytes would keep a slab of 8 KiB. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ownMemory } from '../../src/base/own-memory.ts'
import { configSchema } from '../../src/config/schema.ts'
import { createBroker } from '../../src/embed.ts'
import { identifierProperty } from '../../src/router/match.ts'
import { Origin } from '../../src/router/message.ts'
import { RawClient } from '../support/raw-client.ts'
import { serve } from '../support/spread.ts'

let broker: Awaited<ReturnType<typeof createBroker>>
let server: Awaited<ReturnType<typeof serve>>
beforeAll(async () => {
  broker = await createBroker({ config: configSchema.parse({ store: 'memory', log: { level: 'silent' } }) })
  server = await serve((socket) => void broker.handle(socket))
})
afterAll(async () => {
  await new Promise<void>((resolve) => broker.close(resolve))
  await server.close()
})

const keeps = (bytes: Buffer | undefined): number => bytes!.buffer.byteLength - bytes!.length

test('a copy keeps its bytes and no more', () => {
  const copy = ownMemory(Buffer.from('topic'))
  expect(copy.toString()).toBe('topic')
  expect(keeps(copy)).toBe(0)
  expect(keeps(Buffer.from('topic'))).toBeGreaterThan(1000)
})

test('a session, a Subscription Identifier, a retained message, a will', async () => {
  expect(keeps(new Origin('client', 'user').bytes)).toBe(0)
  expect(keeps(new Origin('client', undefined).bytes)).toBe(0)
  expect(keeps(identifierProperty(7))).toBe(0)
  const client = await RawClient.connected(server.address, { clientId: 'kept', will: { topic: 'will', payload: 'x' } })
  await client.publish({ topic: 'retained', payload: 'x', qos: 1, retain: true })
  expect(keeps(broker.core.retained.get('retained'))).toBe(0)
  expect(keeps(broker.core.retained.get('$SYS/broker/uptime'))).toBe(0)
  expect(keeps(broker.core.wills.get('kept')?.message)).toBe(0)
  await client.disconnect()
})
