/** Stores with everything in them, and their data files, for tests that damage them. */
import fs from 'node:fs'
import path from 'node:path'
import { systemClock } from '../../src/base/clock.ts'
import type { Store } from '../../src/store.ts'
import { DATA_FILE } from '../../src/stores/lmdb/engine.ts'
import { lmdbStore } from '../../src/stores/lmdb.ts'
import { lmdbTools } from '../../src/stores/lmdb-tools.ts'
import type { SeededRandom } from '../support/seeded-random.ts'
import { body, target } from './store-contract.ts'

export const PAGE = 4096

export interface Base {
  /** Name of the file in the folder, and of what was written into it and is there: `<name>.json`. */
  readonly name: string
  readonly pages: number
  /** Files of earlier times. */
  readonly older: readonly string[]
}

const session = (clientId: string, disconnectedAt: number) => ({
  clientId,
  version: 5,
  expirySeconds: 100,
  disconnectedAt,
  maybeSentBefore: 0,
  lane: `s/${clientId}`,
})
const subscription = (topicFilter: string) => ({
  topicFilter,
  qos: 1 as const,
  noLocal: false,
  retainAsPublished: false,
  retainHandling: 0 as const,
  subscriptionIdentifier: 0,
})

export const LANES = ['q/work', 's/a', 's/b', 's/c']
/** Long names make trees deep. */
const long = (name: string): string => `${name}/${'long'.repeat(80)}`

/** Everything a store serves, a line for each. It is given to the child as it stands here: it uses nothing of this module. */
export async function linesOf(store: Store, lanes: readonly string[]): Promise<string[]> {
  const lines: string[] = []
  for (const name of lanes) {
    const lane = store.lane(name)
    for (let from = 1; ; ) {
      const chunk = await store.read(lane, from)
      if (chunk === null) break
      for (let i = 0; i < chunk.count; i++)
        if (!chunk.isSettled(i)) lines.push(`${name} ${chunk.firstSeq + i} ${chunk.message(i)}`)
      from = chunk.firstSeq + chunk.count
    }
    for (const { seq, bytes } of await store.marks(lane)) lines.push(`mark ${name} ${seq} ${bytes}`)
  }
  for await (const { session, subscriptions, inboundPacketIds } of store.sessions()) {
    lines.push(JSON.stringify(session))
    for (const each of subscriptions) lines.push(`${session.clientId} ${JSON.stringify(each)}`)
    for (const each of inboundPacketIds) lines.push(`${session.clientId} ${each}`)
  }
  for await (const { topic, message } of store.retained()) lines.push(`retained ${topic} ${message}`)
  for await (const will of store.wills()) lines.push(JSON.stringify(will))
  for (const entry of store.meta('')) lines.push(JSON.stringify(entry))
  return lines
}

/**
 * Writes, settles and removes much: shared bodies, marks, large and small records, names short and long. Returns all messages that ever
 * were.
 */
export async function fillStore(
  store: Store,
  random: SeededRandom,
  rounds: number,
  afterRound: (round: number) => void = () => {},
): Promise<string[]> {
  const ever: string[] = []
  const append = (text: string, names: readonly string[]): void => {
    const lanes = names.map((name) => store.lane(name))
    for (const lane of lanes) ever.push(`${lane.name} ${lane.nextSeq} ${text}`)
    store.append(
      body(text),
      lanes.map((lane) => target(lane)),
    )
  }
  const settledUpTo = new Map<string, number>()
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < 6; i++) append(`work ${round}.${i} ${'x'.repeat(random.int(0, 900))}`, ['q/work'])
    append(`shared ${round}`, LANES)
    await store.commit()
    for (const name of LANES) {
      const lane = store.lane(name)
      const from = settledUpTo.get(name) ?? 1
      const to = Math.max(from, lane.nextSeq - random.int(5, 30))
      for (let seq = from; seq < to; seq++) if (random.chance(0.98)) store.settle(lane, seq)
      settledUpTo.set(name, to)
      store.mark(lane, random.int(to, lane.nextSeq), Buffer.from(`mark ${round}`))
    }
    for (let i = 0; i < 8; i++) {
      const topic = long(`r/${random.int(0, 60)}`)
      if (random.chance(0.3)) store.deleteRetained(topic)
      else store.putRetained(topic, Buffer.alloc(random.chance(0.2) ? random.int(3000, 9000) : 40, `${round} `))
    }
    const clientId = random.pick(['a', 'b', 'c', long('d')])
    store.putSession(session(clientId, round))
    store.putSubscription(clientId, subscription(long(`f/${round % 7}`)))
    store.putInboundPacketId(clientId, random.int(1, 9))
    if (random.chance(0.5)) store.deleteInboundPacketId(clientId, random.int(1, 9))
    const message = body(`will ${round}`)
    store.putWill({ clientId, message, qos: 1, retain: false, delaySeconds: 0, dueAt: 0, node: '' })
    store.putMeta(`fact ${round % 5}`, { round })
    await store.commit()
    afterRound(round)
  }
  return ever
}

/** A store through whose file much has gone: trees of several levels, free pages, pages of every kind. */
export async function makeUsed(folder: string, random: SeededRandom, rounds = 40): Promise<Base> {
  const dir = path.join(folder, 'making')
  const older: string[] = []
  const open = async (): Promise<Store> => {
    const store = lmdbStore({ dir, clock: systemClock })
    await store.open()
    return store
  }
  let store = await open()
  const ever = await fillStore(store, random, rounds, (round) => {
    if (round !== rounds >> 1 && round !== rounds - 3) return
    older.push(`used-${round}`)
    fs.copyFileSync(path.join(dir, DATA_FILE), path.join(folder, `used-${round}`))
  })
  await store.close()
  // The transactions of a start: a step back from the newest loses nothing.
  store = await open()
  const written = await linesOf(store, LANES)
  await store.close()
  const pages = keep(folder, 'used', path.join(dir, DATA_FILE), written, ever)
  fs.rmSync(dir, { recursive: true })
  return { name: 'used', pages, older }
}

/** The same, written anew: every page of the file is in use. */
export async function makePacked(folder: string, used: Base): Promise<Base> {
  const dir = path.join(folder, 'packing')
  fs.mkdirSync(dir)
  fs.copyFileSync(path.join(folder, used.name), path.join(dir, DATA_FILE))
  await lmdbTools.compact(dir)
  const { written, ever } = writtenIn(folder, used)
  const pages = keep(folder, 'packed', path.join(dir, DATA_FILE), written, ever)
  fs.rmSync(dir, { recursive: true })
  return { name: 'packed', pages, older: [] }
}

/** Keeps a file, and what is in it, under a name. Returns its number of pages. */
function keep(folder: string, name: string, file: string, written: readonly string[], ever: readonly string[]): number {
  fs.copyFileSync(file, path.join(folder, name))
  fs.writeFileSync(path.join(folder, `${name}.json`), JSON.stringify({ written, ever }))
  return Math.ceil(fs.statSync(file).size / PAGE)
}

/** What the store of this file serves, and all messages that ever were in it. */
export const writtenIn = (folder: string, { name }: Base): { written: string[]; ever: string[] } =>
  JSON.parse(fs.readFileSync(path.join(folder, `${name}.json`), 'utf8')) as { written: string[]; ever: string[] }
