/**
 * The ledger: one append-only file per run that says what was sent, acknowledged and received.
 *
 * A line is written before the publish it announces and before the worker's ack it justifies, with a plain write:
 * what the operating system has survives a kill of this process at any moment. A half-written last line is ignored
 * when reading. Lines are JSON:
 *
 *     {"ledger":1,"run":…,"startedAt":…,…}               first line: facts about the run
 *     ["o",stream,kind,device,topic]                      a stream
 *     ["s",stream,sequence,qos,time]                      sent
 *     ["a",stream,sequence,time]                          acknowledged
 *     ["x",stream,sequence,time]                          refused
 *     ["r",stream,sequence,time,handedOutAt,batch,attempt] received
 *     ["e",time]                                          regular end
 */
import {
  closeSync,
  createReadStream,
  mkdirSync,
  openSync,
  readdirSync,
  statSync,
  truncateSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { Account, type Handover, type QoS, type Recorder, type StreamKind } from './account.ts'
import { UsageError } from './profile.ts'

/** Facts about the run, in the first line of its ledger. */
export interface RunFacts {
  readonly run: string
  /** ISO 8601. */
  readonly startedAt: string
  readonly profile: string
  readonly devices: number
  readonly seed: number
  readonly queue: string
  /** The payload template, by which the messages are recognised. */
  readonly payload: Record<string, unknown>
  /** False when no worker took part: then nothing can be said about what arrived. */
  readonly measured: boolean
}

const flushAt = 256 * 1024

/** Writes the lines and adds them up at the same time. */
export class Ledger implements Recorder {
  readonly file: string
  readonly account: Account
  readonly #fd: number
  #pending = ''

  private constructor(file: string, fd: number, account: Account) {
    this.file = file
    this.#fd = fd
    this.account = account
  }

  /** Starts the ledger of a new run in a directory, which is made if absent. */
  static create(directory: string, facts: RunFacts): Ledger {
    mkdirSync(directory, { recursive: true })
    const file = join(directory, `${facts.startedAt.replace(/[:.]/g, '-')}-${facts.run}.ledger`)
    const ledger = new Ledger(file, openSync(file, 'ax'), new Account())
    ledger.#line(JSON.stringify({ ledger: 1, ...facts }))
    ledger.flush()
    return ledger
  }

  /** Goes on with the ledger of a run whose process has ended. Throws `UsageError` as `readLedger` does. */
  static async resume(file: string): Promise<{ facts: RunFacts; ledger: Ledger }> {
    const { facts, account, wholeBytes } = await readLedger(file)
    truncateSync(file, wholeBytes)
    return { facts, ledger: new Ledger(file, openSync(file, 'a'), account) }
  }

  open(stream: number, kind: StreamKind, device: string, topic: string): void {
    this.#line(JSON.stringify(['o', stream, kind, device, topic]))
    this.account.open(stream, kind, device, topic)
  }

  sent(stream: number, sequence: number, qos: QoS, time: number): void {
    this.#line(`["s",${stream},${sequence},${qos},${time}]`)
    this.account.sent(stream, sequence, qos, time)
  }

  acknowledged(stream: number, sequence: number, time: number): void {
    this.#line(`["a",${stream},${sequence},${time}]`)
    this.account.acknowledged(stream, sequence, time)
  }

  refused(stream: number, sequence: number, time: number): void {
    this.#line(`["x",${stream},${sequence},${time}]`)
    this.account.refused(stream, sequence, time)
  }

  received(stream: number, sequence: number, time: number, handover: Handover): void {
    const { handedOutAt, batch, attempt } = handover
    this.#line(`["r",${stream},${sequence},${time},${handedOutAt},${batch},${attempt}]`)
    this.account.received(stream, sequence, time, handover)
  }

  ended(time: number): void {
    this.#line(`["e",${time}]`)
    this.account.ended(time)
    this.flush()
  }

  /** Hands every line so far to the operating system. Throws when the disk does not take them. */
  flush(): void {
    if (this.#pending === '') return
    const bytes = Buffer.from(this.#pending)
    this.#pending = ''
    let written = 0
    while (written < bytes.length) written += writeSync(this.#fd, bytes, written)
  }

  close(): void {
    this.flush()
    closeSync(this.#fd)
  }

  #line(text: string): void {
    this.#pending += `${text}\n`
    if (this.#pending.length >= flushAt) this.flush()
  }
}

/** The newest ledger in the directory. Throws `UsageError` when there is none. */
export function newestLedger(directory: string): string {
  let files: string[]
  try {
    files = readdirSync(directory).filter((name) => name.endsWith('.ledger'))
  } catch {
    throw new UsageError(`no directory ${directory}`)
  }
  const paths = files.map((name) => join(directory, name))
  paths.sort((a, b) => statSync(a).mtimeMs - statSync(b).mtimeMs)
  const newest = paths.at(-1)
  if (newest === undefined) throw new UsageError(`no ledger in ${directory}`)
  return newest
}

/**
 * Adds a ledger up again. `wholeBytes` is where the last complete line ends. Throws `UsageError` when the file is not
 * a ledger or is damaged before its last line.
 */
export async function readLedger(file: string): Promise<{ facts: RunFacts; account: Account; wholeBytes: number }> {
  const account = new Account()
  let facts: RunFacts | null = null
  let wholeBytes = 0
  for await (const line of wholeLines(file)) {
    let value: unknown
    try {
      value = JSON.parse(line)
    } catch {
      throw new UsageError(`${file} is damaged at byte ${wholeBytes}`)
    }
    if (facts === null) facts = runFacts(value, file)
    else apply(value as LedgerLine, account)
    wholeBytes += Buffer.byteLength(line) + 1
  }
  if (facts === null) throw new UsageError(`${file} is not a ledger of firmware-sim`)
  return { facts, account, wholeBytes }
}

/** Lines that end in a newline; what follows the last newline was being written when the process died. */
async function* wholeLines(file: string): AsyncGenerator<string> {
  let rest = ''
  for await (const chunk of createReadStream(file, { encoding: 'utf8' })) {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop() ?? ''
    yield* lines
  }
}

function runFacts(value: unknown, file: string): RunFacts {
  if (typeof value !== 'object' || value === null || !('ledger' in value) || value.ledger !== 1) {
    throw new UsageError(`${file} is not a ledger of firmware-sim (version 1)`)
  }
  return value as unknown as RunFacts
}

type LedgerLine =
  | ['o', number, StreamKind, string, string]
  | ['s', number, number, QoS, number]
  | ['a', number, number, number]
  | ['x', number, number, number]
  | ['r', number, number, number, number, number, number]
  | ['e', number]

function apply(line: LedgerLine, account: Account): void {
  switch (line[0]) {
    case 'o':
      account.open(line[1], line[2], line[3], line[4])
      break
    case 's':
      account.sent(line[1], line[2], line[3], line[4])
      break
    case 'a':
      account.acknowledged(line[1], line[2], line[3])
      break
    case 'x':
      account.refused(line[1], line[2], line[3])
      break
    case 'r':
      account.received(line[1], line[2], line[3], { handedOutAt: line[4], batch: line[5], attempt: line[6] })
      break
    case 'e':
      account.ended(line[1])
      break
  }
}
