/** What a broker knows for good, as text: what it holds in memory, and what a restart from its disk would show. */
import { systemClock } from '../../../src/base/clock.ts'
import type { SubscriptionRecord } from '../../../src/store.ts'
import { MemoryDisk } from '../../../src/stores/embedded/memory-engine.ts'
import { EmbeddedStore } from '../../../src/stores/embedded/store.ts'
import { LabEngine, soundDisk } from './engine.ts'
import type { LabWorld } from './world.ts'

export function copyOf(disk: MemoryDisk): MemoryDisk {
  const copy = new MemoryDisk()
  disk.map.scan('', '\uffff', (key, value) => {
    copy.map.set(key, Buffer.from(value))
    return true
  })
  return copy
}

type Subscription = Pick<SubscriptionRecord, 'topicFilter' | 'qos'>

const filters = (subscriptions: Iterable<Subscription>): string =>
  [...subscriptions]
    .map(({ topicFilter, qos }) => `${topicFilter}:${qos}`)
    .sort()
    .join(' ')
const numbers = (ids: Iterable<number>): string => [...ids].sort((a, b) => a - b).join(' ')
const session = (clientId: string, subscriptions: Iterable<Subscription>, inbound: Iterable<number>, waiting: number) =>
  `session ${clientId} [${filters(subscriptions)}] inbound [${numbers(inbound)}] waiting ${waiting}`
const retained = (topic: string, message: Buffer): string => `retained ${topic} ${message.toString('latin1')}`

/** Call when everything has come to rest and 20 ms have gone by: what nobody waits for is then on disk too. */
export function inMemory(world: LabWorld): string[] {
  const { broker, queues } = world.life
  const lines: string[] = []
  for (const { clientId, lane, subscriptions, inbound } of broker.core.sessions.values())
    if (lane !== null) lines.push(session(clientId, subscriptions.values(), inbound ?? [], lane.waiting))
  broker.core.retained.match('#', (topic, message) => lines.push(retained(topic, message)))
  for (const { clientId } of broker.core.wills.values()) lines.push(`will ${clientId}`)
  for (const { name, lane } of queues) if (lane.waiting > 0) lines.push(`queue ${name} waiting ${lane.waiting}`)
  return lines.sort()
}

export async function onDisk(disk: MemoryDisk): Promise<string[]> {
  const store = new EmbeddedStore(new LabEngine(copyOf(disk), soundDisk), { clock: systemClock })
  await store.open()
  const lines: string[] = []
  for await (const { session: record, subscriptions, inboundPacketIds } of store.sessions())
    lines.push(session(record.clientId, subscriptions, inboundPacketIds, store.lane(record.lane).waiting))
  for await (const { topic, message } of store.retained()) lines.push(retained(topic, message))
  for await (const { clientId } of store.wills()) lines.push(`will ${clientId}`)
  for (const name of store.laneNames('q/')) {
    const { waiting } = store.lane(name)
    if (waiting > 0) lines.push(`queue ${name.slice(2)} waiting ${waiting}`)
  }
  await store.close()
  return lines.sort()
}

/** What only one of them says. */
export async function differences(world: LabWorld): Promise<string[]> {
  const memory = inMemory(world)
  const disk = await onDisk(world.disk)
  return [
    ...memory.filter((line) => !disk.includes(line)).map((line) => `only in memory: ${line}`),
    ...disk.filter((line) => !memory.includes(line)).map((line) => `only on disk: ${line}`),
  ]
}
