/** Starts a broker as a child process in a temporary directory and stops exactly that process again. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import net from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'

const STOP_MS = 5_000
const OUTPUT_KEPT = 4_000

export interface BrokerCommand {
  readonly command: string
  readonly args: readonly string[]
  readonly core?: number | undefined
  /** Added to the environment. */
  readonly env?: Readonly<Record<string, string>>
}

export class BrokerProcess {
  readonly directory: string
  readonly #child: ChildProcess
  #stdout = ''
  #stderr = ''

  private constructor(directory: string, child: ChildProcess) {
    this.directory = directory
    this.#child = child
    child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      // Only the beginning matters (the ready line); the rest is read so that the broker never blocks on its log.
      if (this.#stdout.length < OUTPUT_KEPT) this.#stdout += text
      child.emit('output')
    })
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-OUTPUT_KEPT)
    })
    process.once('exit', this.#kill)
  }

  /**
   * Makes a directory under `dataRoot`, lets `command` write its configuration there, spawns, and waits for `ready`.
   * Rejects, with nothing left behind, when the program is missing, ends early or is never ready.
   */
  static async start<T>(
    dataRoot: string,
    command: (directory: string) => Promise<BrokerCommand>,
    ready: (broker: BrokerProcess) => Promise<T>,
  ): Promise<{ broker: BrokerProcess; facts: T }> {
    const directory = await mkdtemp(join(dataRoot, 'sluicemq-bench-'))
    const {
      command: file,
      args,
      core,
      env,
    } = await command(directory).catch(async (error: unknown) => {
      await rm(directory, { recursive: true, force: true })
      throw error
    })
    const line = core === undefined ? [file, ...args] : ['taskset', '-c', String(core), file, ...args]
    const child = spawn(line[0]!, line.slice(1), {
      stdio: ['ignore', 'pipe', 'pipe'],
      cwd: directory,
      env: { ...process.env, ...env },
    })
    const broker = new BrokerProcess(directory, child)
    try {
      await once(child, 'spawn')
      return { broker, facts: await ready(broker) }
    } catch (error) {
      await broker.stop()
      throw error
    }
  }

  get pid(): number {
    return this.#child.pid!
  }

  /** Resolves with the match once stdout matches; rejects with the broker's last words when it exits first. */
  async line(pattern: RegExp, timeoutMs = 15_000): Promise<RegExpMatchArray> {
    const deadline = Date.now() + timeoutMs
    for (;;) {
      const match = this.#stdout.match(pattern)
      if (match) return match
      this.#mustLive(deadline, `no line like ${pattern.source}`)
      const patience = AbortSignal.timeout(Math.max(1, Math.min(200, deadline - Date.now())))
      await once(this.#child, 'output', { signal: patience }).catch(() => {})
    }
  }

  /** Resolves once something accepts connections on the port. */
  async listening(port: number, timeoutMs = 15_000): Promise<void> {
    const deadline = Date.now() + timeoutMs
    while (!(await accepts(port))) {
      this.#mustLive(deadline, `nothing listens on port ${port}`)
      await delay(20)
    }
  }

  async stop(): Promise<void> {
    process.removeListener('exit', this.#kill)
    if (this.#running()) {
      const exited = once(this.#child, 'exit')
      this.#child.kill('SIGTERM')
      if ((await Promise.race([exited, delay(STOP_MS, 'late', { ref: false })])) === 'late') {
        this.#child.kill('SIGKILL')
        await exited
      }
    }
    await rm(this.directory, { recursive: true, force: true })
  }

  readonly #kill = (): void => {
    this.#child.kill('SIGKILL')
  }

  /** False also when the program could not be spawned. */
  #running(): boolean {
    return this.#child.pid !== undefined && this.#child.exitCode === null && this.#child.signalCode === null
  }

  #mustLive(deadline: number, what: string): void {
    const { exitCode, signalCode } = this.#child
    if (!this.#running()) throw new Error(`the broker ended (${exitCode ?? signalCode}) early: ${this.#stderr.trim()}`)
    if (Date.now() > deadline) throw new Error(`${what}: ${this.#stderr.trim()}`)
  }
}

/** A port that was free a moment ago, for brokers that cannot choose one themselves. */
export async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1')
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}
