/**
 * The broker as a real process: started from the compiled program, killed with real signals, started again on the
 * same ports and the same data. For tests about crashes, exit codes and everything seen from outside.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { lastingPort } from './ports.ts'

export interface BrokerProcessOptions {
  /** Contents of the config file, as an object (JSON is YAML). None: started without a file. */
  config?: object
  /** Kept when given; otherwise a temporary folder that `stop` removes. */
  dataDir?: string
  /** More arguments behind `start`. */
  args?: string[]
  env?: Record<string, string>
  /** How long to wait for the ready line. */
  readyTimeoutMs?: number
  store?: 'lmdb' | 'memory' | 'redis'
  /**
   * Starts again by itself what ended because other nodes had declared it dead, as a supervisor does: on a machine that is
   * busy enough a node may be silent for too long, also while it starts.
   */
  supervised?: boolean
  /** Files of the process may not grow beyond this, in bytes: `ulimit -f`. */
  fileBytesMax?: number
}

export interface Exit {
  code: number | null
  signal: NodeJS.Signals | null
}

/** Folder of package.json, seen from source and from dist alike. */
export function projectRoot(): string {
  let dir = import.meta.dirname
  while (!fs.existsSync(path.join(dir, 'package.json'))) dir = path.dirname(dir)
  return dir
}

export const mainFile = (): string => path.join(projectRoot(), 'dist/src/main.js')

const readyLine = /^ready mqtt=mqtt:\/\/(\S+):(\d+) ws=(ws:\/\/\S+) http=(http:\/\/\S+?)(?: mqtts=(mqtts:\/\/\S+))?$/m

/** Exit code of a node that others declared dead. */
const DECLARED_DEAD = 75
/** Of one that is supervised. */
const STARTS_MAX = 3

export class BrokerProcess {
  mqtt = { host: '127.0.0.1', port: 0 }
  ws = ''
  http = ''
  /** URL of MQTT over TLS; '': not configured. */
  mqtts = ''
  stdout = ''
  stderr = ''
  readonly dataDir: string
  private readonly ownDir: string | null
  private readonly options: BrokerProcessOptions
  private child: ChildProcess | null = null
  /** Started, and not ended by the test since. */
  private wanted = false
  private exited: Promise<Exit> = Promise.resolve({ code: null, signal: null })

  private constructor(options: BrokerProcessOptions) {
    this.options = options
    this.ownDir = fs.mkdtempSync(path.join(os.tmpdir(), 'sluicemq-test-'))
    this.dataDir = options.dataDir ?? path.join(this.ownDir, 'data')
    if (options.config) fs.writeFileSync(this.configFile, JSON.stringify(options.config))
  }

  private get configFile(): string {
    return path.join(this.ownDir ?? '', 'config.yaml')
  }

  /** Starts a process and waits for its ready line. */
  static async start(options: BrokerProcessOptions = {}): Promise<BrokerProcess> {
    const broker = new BrokerProcess(options)
    try {
      await broker.start()
    } catch (error) {
      broker.removeFiles()
      throw error
    }
    return broker
  }

  get pid(): number {
    return this.child?.pid ?? 0
  }
  get running(): boolean {
    return this.child !== null
  }

  /** Starts (again), on the ports of the last start. */
  async start(): Promise<void> {
    this.wanted = true
    for (let tries = 1; ; tries++) {
      try {
        await this.launch()
        return
      } catch (error) {
        const { code } = await this.exited
        if (this.options.supervised !== true || code !== DECLARED_DEAD || tries === STARTS_MAX || !this.wanted)
          throw error
      }
    }
  }

  private async launch(): Promise<void> {
    const { args = [], config, env = {}, store, fileBytesMax, readyTimeoutMs = 60_000 } = this.options
    if (!fs.existsSync(mainFile())) throw new Error(`${mainFile()} is missing: run npm run build first`)
    const mqttPort = this.mqtt.port || (await lastingPort())
    const httpPort = this.http ? Number(new URL(this.http).port) : await lastingPort()
    const all = [mainFile(), 'start', '--mqtt-port', String(mqttPort), '--http-port', String(httpPort)]
    all.push('--data-dir', this.dataDir)
    if (config) all.push('--config', this.configFile)
    if (store) all.push('--store', store)
    const line = [process.execPath, ...all, ...args]
    if (fileBytesMax !== undefined)
      line.unshift('bash', '-c', `ulimit -f ${Math.floor(fileBytesMax / 1024)}; exec "$@"`, 'bash')
    const child = spawn(line[0]!, line.slice(1), {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
      cwd: this.ownDir ?? undefined,
    })
    this.child = child
    this.stdout = ''
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.stderr = (this.stderr + text).slice(-100_000)
    })
    let serves = false
    this.exited = new Promise((resolve) => {
      child.on('close', (code, signal) => {
        if (this.child === child) this.child = null
        resolve({ code, signal })
        const again = serves && this.wanted && this.options.supervised === true && code === DECLARED_DEAD
        if (again) void this.start().catch(() => {})
      })
    })
    const ready = new Promise<RegExpExecArray>((resolve) => {
      child.stdout!.setEncoding('utf8').on('data', (text: string) => {
        this.stdout += text
        const found = readyLine.exec(this.stdout)
        if (found) resolve(found)
      })
    })
    const [, host, port, ws, http, mqtts] = await this.inTime(ready, readyTimeoutMs)
    serves = true
    this.mqtt = { host: host!, port: Number(port) }
    this.ws = ws!
    this.http = http!
    this.mqtts = mqtts ?? ''
  }

  private async inTime(ready: Promise<RegExpExecArray>, timeoutMs: number): Promise<RegExpExecArray> {
    let timer: NodeJS.Timeout | undefined
    const timeout = new Promise<string>((resolve) => {
      timer = setTimeout(() => resolve(`no ready line within ${timeoutMs} ms`), timeoutMs)
    })
    const gone = this.exited.then(({ code, signal }) => `the broker ended (${signal ?? code}) before it was ready`)
    const first = await Promise.race([ready, timeout, gone]).finally(() => clearTimeout(timer))
    if (typeof first !== 'string') return first
    this.child?.kill('SIGKILL')
    throw new Error(`${first}; stdout: ${this.stdout}; stderr: ${this.stderr}`)
  }

  /** Sends the signal and waits for the end. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<Exit> {
    this.wanted = false
    this.child?.kill(signal)
    return this.exited
  }

  /** How and when it ends by itself. */
  exit(): Promise<Exit> {
    return this.exited
  }

  /** Resident memory of the process, in bytes. */
  residentBytes(): number {
    const status = fs.readFileSync(`/proc/${this.pid}/status`, 'utf8')
    return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1024
  }

  /** Kills the process and removes its files. */
  async stop(): Promise<void> {
    await this.kill('SIGKILL')
    this.removeFiles()
  }

  private removeFiles(): void {
    if (this.ownDir) fs.rmSync(this.ownDir, { recursive: true, force: true })
  }
}
