import type { DoorAnswer, DoorHeld, DoorOrder, DoorReport } from '../../door.ts'

/** What `exchange` returns for one order. */
export type Reply = readonly [
  failure: string,
  made: number,
  closed: number,
  laid: string[],
  back: string[],
  overdue: string[],
  answers: string[],
  last: string,
  mark: string,
  told: number,
  held: (string | number)[],
  entries: number,
  workers: number,
  named: number,
  names: string[],
  heard: number,
  lying: string[],
  forgotten: string[],
]

/** The arguments of `exchange` for one order. */
export function argumentsOf(order: DoorOrder): (string | number | Buffer)[] {
  const flags = [order.look, order.survey, order.close].map(Number)
  const all: (string | number | Buffer)[] = [order.queue, ...flags, order.answersAfter, order.since, order.workers]
  for (const ids of [order.remove, order.answered, order.takeBack]) all.push(ids.length, ...ids)
  all.push(order.overdue.length)
  for (const { id, idleMs } of order.overdue) all.push(id, Math.floor(idleMs))
  all.push(order.lay.length)
  for (const fields of order.lay) all.push(fields.length, ...fields)
  return all
}

export function reportOf({ queue, look, survey }: DoorOrder, reply: Reply): DoorReport {
  const [failure, made, closed, laid, takenBack, overdue, answers, lastTaken, mark, told, held] = reply
  const [, , , , , , , , , , , entries, workers, named, names, heard, lying, forgotten] = reply
  return {
    queue,
    failure,
    made: made === 1,
    closed: closed === 1,
    laid,
    takenBack,
    overdue,
    answers: answersOf(answers),
    lastTaken,
    mark,
    held: told === 1 ? heldOf(held) : null,
    entries,
    workers,
    workerNames: named === 1 ? names : null,
    forgotten,
    heardMs: !look ? null : heard < 0 ? Number.POSITIVE_INFINITY : heard,
    lying: survey ? pairs(lying) : null,
  }
}

/** Longest reason that is kept, in characters. */
const REASON_MAX = 512
/** 12 hours, and a week: as over HTTP. */
const LEASE_MS_MAX = 43_200_000
const DELAY_MS_MAX = 604_800_000

function answersOf(flat: readonly string[]): DoorAnswer[] {
  const answers: DoorAnswer[] = []
  for (let i = 0; i < flat.length; i += 5) {
    const says = flat[i + 2] as DoorAnswer['says']
    const ms = Number.parseInt(flat[i + 3]!, 10)
    const most = says === 'extend' ? LEASE_MS_MAX : DELAY_MS_MAX
    const reason = flat[i + 4]!.slice(0, REASON_MAX)
    answers.push({
      id: flat[i]!,
      of: flat[i + 1]!,
      says,
      ...(ms >= 0 && { ms: Math.min(ms, most) }),
      ...(reason !== '' && { reason }),
    })
  }
  return answers
}

function heldOf(flat: readonly (string | number)[]): DoorHeld[] {
  const held: DoorHeld[] = []
  for (let i = 0; i < flat.length; i += 4) {
    const [id, worker, idleMs, times] = flat.slice(i, i + 4)
    held.push({ id: String(id), worker: String(worker), idleMs: Number(idleMs), times: Number(times) })
  }
  return held
}

function pairs(flat: readonly string[]): { id: string; receipt: string }[] {
  const all: { id: string; receipt: string }[] = []
  for (let i = 0; i < flat.length; i += 2) all.push({ id: flat[i]!, receipt: flat[i + 1]! })
  return all
}
