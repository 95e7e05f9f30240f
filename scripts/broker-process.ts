/** A broker in a process of its own, which can be killed without warning and started again on the same ports. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'

const readyWithinMs = 60_000
const logLinesKept = 20

export interface BrokerAddresses {
  readonly mqtt: string
  readonly ws: string
  readonly http: string
}

export class BrokerProcess {
  readonly #mainFile: string
  readonly #args: readonly string[]
  #child: ChildProcess | null = null
  #addresses: BrokerAddresses | null = null
  #log: string[] = []

  /** `args` follow `start`; ports are chosen by the first start and kept. */
  constructor(mainFile: string, args: readonly string[]) {
    this.#mainFile = mainFile
    this.#args = args
  }

  get pid(): number | undefined {
    return this.#child?.pid
  }

  /** Throws before the first start. */
  get addresses(): BrokerAddresses {
    if (this.#addresses === null) throw new Error('the broker has not been started')
    return this.#addresses
  }

  /** Resolves when the broker says ready, with the ms that took. Rejects with its last words when it does not. */
  async start(): Promise<number> {
    const startedAt = performance.now()
    const ports =
      this.#addresses === null ? ['0', '0'] : [new URL(this.#addresses.mqtt).port, new URL(this.#addresses.http).port]
    const args = [this.#mainFile, 'start', '--mqtt-port', ports[0]!, '--http-port', ports[1]!, ...this.#args]
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    this.#child = child
    this.#log = []
    createInterface({ input: child.stderr! }).on('line', (line) => {
      this.#log.push(line)
      if (this.#log.length > logLinesKept) this.#log.shift()
    })
    this.#addresses = await new Promise<BrokerAddresses>((resolve, reject) => {
      const fail = (what: string): void => reject(new Error([what, ...this.#log].join('\n  ')))
      const timer = setTimeout(() => fail('the broker did not get ready'), readyWithinMs)
      child.once('error', (error) => fail(`the broker could not be started: ${error.message}`))
      child.once('close', (code) => fail(`the broker ended with exit code ${code}`))
      createInterface({ input: child.stdout! }).on('line', (line) => {
        const ready = /^ready mqtt=(\S+) ws=(\S+) http=(\S+)/.exec(line)
        if (ready === null) return
        clearTimeout(timer)
        resolve({ mqtt: ready[1]!, ws: ready[2]!, http: ready[3]! })
      })
    })
    return performance.now() - startedAt
  }

  /** Ends the process at once, as a power cut would end it. */
  async kill(): Promise<void> {
    const child = this.#child
    this.#child = null
    if (child === null || child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
  }
}
