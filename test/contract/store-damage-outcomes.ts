/**
 * What becomes of damaged copies of a file: each is opened, read to the end, written to, closed, opened and read again in a process of
 * its own, so that a crash is seen as one.
 */
import fs from 'node:fs'
import path from 'node:path'
import { DATA_FILE } from '../../src/stores/lmdb/engine.ts'
import type { SeededRandom } from '../support/seeded-random.ts'
import { type Base, LANES, linesOf, PAGE } from './store-damages.ts'
import { startStore } from './store-process.ts'

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
  const facts = JSON.parse(fs.readFileSync(folder + '/${base.name}.json', 'utf8'))
  const written = new Set(facts.written)
  const ever = new Set([...facts.written, ...facts.ever])
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
      // What says that a message was settled may be what is damaged: it comes again, and that is told.
      const wrong = first.find((line) => !ever.has(line))
      if (wrong !== undefined && !stale) return 'WRONG ' + wrong.slice(0, 100)
      const isWhole = first.length === written.size && first.every((line) => written.has(line))
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
