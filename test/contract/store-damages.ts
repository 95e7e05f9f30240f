/**
 * Data files, ways to damage them, and what becomes of each damaged copy: it is opened, read to the end, written to, closed, opened
 * and read again in a process of its own, so that a crash is seen as one.
 */
import fs from 'node:fs'
import path from 'node:path'
import { systemClock } from '../../src/base/clock.ts'
import type { Store } from '../../src/store.ts'
import { DATA_FILE } from '../../src/stores/lmdb/engine.ts'
import { lmdbStore } from '../../src/stores/lmdb.ts'
import { lmdbTools } from '../../src/stores/lmdb-tools.ts'
import type { SeededRandom } from '../support/seeded-random.ts'
import { body, target } from './store-contract.ts'
import { startStore } from './store-process.ts'

export const PAGE = 4096

/** What is done to a file. */
export type Damage =
  | { readonly is: 'flip'; readonly at: number; readonly bit: number }
  /** A page of nothing, or of ones. */
  | { readonly is: 'fill'; readonly page: number; readonly byte: number }
  /** Two pages change places. */
  | { readonly is: 'swap'; readonly page: number; readonly other: number }
  /** A page as it was in the file of that name, from an earlier time. */
  | { readonly is: 'old'; readonly page: number; readonly file: string }
  /** Everything from this page on is missing. */
  | { readonly is: 'cut'; readonly page: number }

export interface Base {
  /** Name of the file in the folder, and of what was written into it and is there: `<name>.json`. */
  readonly name: string
  readonly pages: number
  /** Files of earlier times. */
  readonly older: readonly string[]
}

/**
 * What became of a damaged copy.
 *
 * - `whole`: everything is there, before and after a restart
 * - `told`: something is missing, and was told
 * - `refused`: the store did not open, and said why
 * - anything else is a fault
 */
export interface Outcome {
  readonly damage: Damage
  readonly outcome: string
}

export const isFault = ({ outcome }: Outcome): boolean => !['whole', 'told', 'refused'].includes(outcome)

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

/** A store through whose file much has gone: trees of several levels, free pages, shared bodies, pages of every kind. */
export async function makeUsed(folder: string, random: SeededRandom, rounds = 40): Promise<Base> {
  const dir = path.join(folder, 'making')
  const older: string[] = []
  const open = async (): Promise<Store> => {
    const store = lmdbStore({ dir, clock: systemClock })
    await store.open()
    return store
  }
  let store = await open()
  const settledUpTo = new Map<string, number>()
  for (let round = 0; round < rounds; round++) {
    const all = LANES.map((name) => target(store.lane(name)))
    for (let i = 0; i < 6; i++)
      store.append(body(`work ${round}.${i} ${'x'.repeat(random.int(0, 900))}`), [target(store.lane('q/work'))])
    store.append(body(`shared ${round}`), all)
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
    store.putWill({
      clientId,
      message: body(`will ${round}`),
      qos: 1,
      retain: false,
      delaySeconds: 0,
      dueAt: 0,
      node: '',
    })
    store.putMeta(`fact ${round % 5}`, { round })
    await store.commit()
    if (round === rounds >> 1 || round === rounds - 3) {
      older.push(`used-${round}`)
      fs.copyFileSync(path.join(dir, DATA_FILE), path.join(folder, `used-${round}`))
    }
  }
  await store.close()
  // The transactions of a start: a step back from the newest loses nothing.
  store = await open()
  const written = await linesOf(store, LANES)
  await store.close()
  const pages = keep(folder, 'used', path.join(dir, DATA_FILE), written)
  fs.rmSync(dir, { recursive: true })
  return { name: 'used', pages, older }
}

/** The same, written anew: every page of the file is in use. */
export async function makePacked(folder: string, used: Base): Promise<Base> {
  const dir = path.join(folder, 'packing')
  fs.mkdirSync(dir)
  fs.copyFileSync(path.join(folder, used.name), path.join(dir, DATA_FILE))
  await lmdbTools.compact(dir)
  const written = JSON.parse(fs.readFileSync(path.join(folder, `${used.name}.json`), 'utf8')) as string[]
  const pages = keep(folder, 'packed', path.join(dir, DATA_FILE), written)
  fs.rmSync(dir, { recursive: true })
  return { name: 'packed', pages, older: [] }
}

/** Keeps a file, and what is in it, under a name. Returns its number of pages. */
function keep(folder: string, name: string, file: string, written: readonly string[]): number {
  fs.copyFileSync(file, path.join(folder, name))
  fs.writeFileSync(path.join(folder, `${name}.json`), JSON.stringify(written))
  return Math.ceil(fs.statSync(file).size / PAGE)
}

/** What each damaged copy of the base comes to. */
export async function outcomesOf(compiled: string, folder: string, base: Base, damages: Damage[]): Promise<Outcome[]> {
  const outcomes: Outcome[] = []
  while (outcomes.length < damages.length) {
    fs.writeFileSync(path.join(folder, 'damages.json'), JSON.stringify(damages.slice(outcomes.length)))
    const child = startStore(compiled, path.join(folder, 'own'), scriptOf(folder, base))
    const code = await child.ended
    const done = child.lines.at(-1) === 'done'
    const found = done ? child.lines.slice(0, -1) : child.lines
    for (const outcome of found) outcomes.push({ damage: damages[outcomes.length]!, outcome })
    // The one it was at.
    if (!done) outcomes.push({ damage: damages[outcomes.length]!, outcome: `DIED (${child.child.signalCode ?? code})` })
  }
  return outcomes
}

const scriptOf = (folder: string, base: Base): string => `
  const folder = ${JSON.stringify(folder)}
  export const LANES = ${JSON.stringify(LANES)}
  const PAGE = ${PAGE}
  const written = new Set(JSON.parse(fs.readFileSync(folder + '/${base.name}.json', 'utf8')))
  const whole = fs.readFileSync(folder + '/${base.name}')
  const older = Object.fromEntries(${JSON.stringify(base.older)}.map((name) => [name, fs.readFileSync(folder + '/' + name)]))
  const pageOf = (bytes, page) => bytes.subarray(page * PAGE, page * PAGE + PAGE)
  const damaged = (damage) => {
    const bytes = Buffer.from(whole)
    if (damage.is === 'flip') bytes[damage.at] ^= 1 << damage.bit
    else if (damage.is === 'fill') pageOf(bytes, damage.page).fill(damage.byte)
    else if (damage.is === 'old') pageOf(bytes, damage.page).set(pageOf(older[damage.file], damage.page))
    else if (damage.is === 'cut') return bytes.subarray(0, damage.page * PAGE)
    else {
      pageOf(bytes, damage.page).set(pageOf(whole, damage.other))
      pageOf(bytes, damage.other).set(pageOf(whole, damage.page))
    }
    return bytes
  }
  ${linesOf.toString()}
  const added = ['retained n/new new']
  const outcomeOf = async (dir, stale) => {
    let told = 0
    const opened = async () => {
      const store = lmdbStore({ dir, clock: systemClock, onEvent: (event) => { if (event.type === 'damaged') told++ } })
      await store.open()
      return store
    }
    let store
    try {
      store = await opened()
    } catch (error) {
      return error.code?.startsWith('store_') ? 'refused' : 'ODD ' + error.stack
    }
    try {
      const first = await linesOf(store, LANES)
      const wrong = first.find((line) => !written.has(line))
      if (wrong !== undefined && !stale) return 'WRONG ' + wrong.slice(0, 100)
      const isWhole = first.length === written.size && wrong === undefined
      if (!isWhole && told === 0 && !stale) return 'LESS ' + (written.size - first.length)
      // What is there stays there through writes and a restart.
      const lane = store.lane('q/work')
      const { nextSeq } = lane
      const gone = first.find((line) => line.startsWith('q/work '))
      for (let i = 0; i < 3; i++) {
        store.append(Buffer.from('new ' + i + 'y'.repeat(3000 * i)), [{ lane, tag: 0, extra: null }])
        store.putRetained('n/new', Buffer.from('new'))
        if (i === 1 && gone !== undefined) store.settle(lane, Number(gone.split(' ')[1]))
        await store.commit()
      }
      const expected = new Set([...first.filter((line) => line !== gone), ...added])
      for (let i = 0; i < 3; i++) expected.add('q/work ' + (nextSeq + i) + ' new ' + i + 'y'.repeat(3000 * i))
      if (gone !== undefined) {
        const [, seq] = gone.split(' ')
        for (const line of expected) if (line.startsWith('mark q/work ' + seq + ' ')) expected.delete(line)
      }
      await store.close()
      store = await opened()
      const second = await linesOf(store, LANES)
      const missing = [...expected].filter((line) => !second.includes(line))
      const more = second.filter((line) => !expected.has(line))
      if (missing.length + more.length > 0)
        return 'LATER ' + (isWhole ? 'whole ' : '') + ' missing ' + missing.map((line) => line.slice(0, 60)) + ' more ' + more.map((line) => line.slice(0, 60))
      return isWhole ? 'whole' : told > 0 || !stale ? 'told' : 'stale'
    } catch (error) {
      return 'ODD ' + error.stack
    } finally {
      await store.close().catch(() => {})
    }
  }
  for (const damage of JSON.parse(fs.readFileSync(folder + '/damages.json', 'utf8'))) {
    const dir = fs.mkdtempSync(folder + '/copy-')
    fs.writeFileSync(dir + '/${DATA_FILE}', damaged(damage))
    const outcome = await outcomeOf(dir, damage.is === 'old')
    fs.rmSync(dir, { recursive: true })
    say(outcome.replace(/\\s+/g, ' '))
  }
  say('done')`

/** A bit anywhere in the file; every page has the same chance, and its head and pointers, where LMDB's own facts stand, a larger one. */
export function anyFlip(random: SeededRandom, { pages }: Base): Damage {
  const within = random.chance(0.5) ? random.int(0, PAGE - 1) : random.int(0, random.chance(0.5) ? 23 : 255)
  return { is: 'flip', at: random.int(0, pages - 1) * PAGE + within, bit: random.int(0, 7) }
}

/** A page as a whole: gone, moved, or of an earlier time. */
export function anyPage(random: SeededRandom, { pages, older }: Base): Damage {
  const page = random.int(0, pages - 1)
  const kind = random.int(0, older.length > 0 ? 2 : 1)
  if (kind === 0) return { is: 'fill', page, byte: random.pick([0, 0xff]) }
  if (kind === 1) return { is: 'swap', page, other: random.int(0, pages - 1) }
  return { is: 'old', page, file: random.pick(older) }
}
