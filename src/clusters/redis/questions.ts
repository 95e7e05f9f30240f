import type { Clock } from '../../base/clock.ts'
import { type ErrorCode, errorTable, SluiceError } from '../../errors.ts'

interface Open {
  readonly nodeId: string
  resolve(body: unknown): void
  reject(error: Error): void
  readonly cancel: () => void
}

/** Questions to other nodes that wait for their answers. */
export class Questions {
  readonly #clock: Clock
  readonly #timeoutMs: number
  readonly #open = new Map<number, Open>()
  #last = 0

  constructor(clock: Clock, timeoutMs: number) {
    this.#clock = clock
    this.#timeoutMs = timeoutMs
  }

  /** @param send sends the question with the id it is given */
  ask(nodeId: string, send: (id: number) => void): Promise<unknown> {
    const id = ++this.#last
    return new Promise((resolve, reject) => {
      const cancel = this.#clock.after(this.#timeoutMs, () =>
        this.failed(id, new SluiceError('node_gone', `node ${nodeId} has not answered for ${this.#timeoutMs} ms`)),
      )
      this.#open.set(id, { nodeId, resolve, reject, cancel })
      send(id)
    })
  }

  answered(id: number, body: unknown): void {
    this.#take(id)?.resolve(body)
  }

  refused(id: number, code: string, text: string): void {
    this.failed(id, new SluiceError(code in errorTable ? (code as ErrorCode) : 'invariant', text))
  }

  failed(id: number, error: Error): void {
    this.#take(id)?.reject(error)
  }

  /** The node is gone: nothing it was asked will be answered. */
  gone(nodeId: string): void {
    for (const [id, open] of this.#open)
      if (open.nodeId === nodeId) this.failed(id, new SluiceError('node_gone', `node ${nodeId} is gone`))
  }

  close(): void {
    for (const [id, { nodeId }] of this.#open)
      this.failed(id, new SluiceError('node_gone', `leaving; ${nodeId} was asked`))
  }

  #take(id: number): Open | undefined {
    const open = this.#open.get(id)
    this.#open.delete(id)
    open?.cancel()
    return open
  }
}
