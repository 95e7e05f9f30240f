import type { Clock } from '../base/clock.ts'
import { SluiceError } from '../errors.ts'

/** What a worker is told: go on; take nothing new and finish; end. */
export type WorkerCommand = 'run' | 'quiet' | 'stop'

/** What a worker says of itself with a heartbeat. */
export interface Heartbeat {
  readonly queue?: string
  readonly host?: string
  readonly pid?: number
  readonly version?: string
  /** Handlers running. */
  readonly running?: number
  readonly done?: number
  readonly failed?: number
}

export interface WorkerInfo extends Heartbeat {
  readonly id: string
  readonly command: WorkerCommand
  /** Wall clock ms of the first heartbeat and of the last. */
  readonly since: number
  readonly seen: number
}

/** Workers remembered; the one that was silent for the longest is forgotten first. */
export const WORKERS_MAX = 10_000

/** A worker that said nothing for so long is gone, in ms. */
const SILENT_MS = 120_000

/**
 * The workers that send heartbeats, in memory: after a restart of the broker each is known again with its next heartbeat, and
 * told to run.
 */
export class Workers {
  readonly #clock: Clock
  readonly #onHeard: (queue: string, id: string) => void
  /** Called when a worker is to do something else than before. */
  onTold: (id: string, command: WorkerCommand) => void = () => {}
  /** In the order of their last heartbeat. */
  readonly #workers = new Map<string, WorkerInfo>()

  /** @param onHeard told of each heartbeat that names a queue */
  constructor(clock: Clock, onHeard: (queue: string, id: string) => void = () => {}) {
    this.#clock = clock
    this.#onHeard = onHeard
  }

  /** Takes a heartbeat; returns what the worker is to do. */
  heard(id: string, heartbeat: Heartbeat): WorkerCommand {
    const seen = this.#clock.now()
    const { command = 'run', since = seen } = this.#workers.get(id) ?? {}
    this.#workers.delete(id)
    this.#forget(seen, WORKERS_MAX - 1)
    this.#workers.set(id, { ...heartbeat, id, command, since, seen })
    if (heartbeat.queue !== undefined) this.#onHeard(heartbeat.queue, id)
    return command
  }

  /**
   * Has the worker told this from its next heartbeat on.
   * @throws SluiceError worker_unknown
   */
  tell(id: string, command: WorkerCommand): WorkerInfo {
    const worker = this.#workers.get(id)
    if (worker === undefined || worker.seen + SILENT_MS < this.#clock.now())
      throw new SluiceError('worker_unknown', `no worker named ${JSON.stringify(id)} sends heartbeats`)
    const told = { ...worker, command }
    this.#workers.set(id, told)
    this.onTold(id, command)
    return told
  }

  list(): WorkerInfo[] {
    this.#forget(this.#clock.now(), WORKERS_MAX)
    return [...this.#workers.values()].sort((a, b) => (a.id < b.id ? -1 : 1))
  }

  #forget(now: number, max: number): void {
    for (const [id, { seen }] of this.#workers) {
      if (seen + SILENT_MS >= now && this.#workers.size <= max) return
      this.#workers.delete(id)
    }
  }
}
