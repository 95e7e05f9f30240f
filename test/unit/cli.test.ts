import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { afterAll, describe, expect, test } from 'vitest'
import type { Clock } from '../../src/base/clock.ts'
import { scramKeys } from '../../src/base/scram-keys.ts'
import { exitCodeOf, exitCodes } from '../../src/cli/exit-codes.ts'
import { readPassword } from '../../src/cli/password.ts'
import { runProgram } from '../../src/cli/program.ts'
import { type ProcessPort, type Running, readyLine, type StartBroker } from '../../src/cli/start.ts'
import { exampleConfig } from '../../src/config/example.ts'
import { loadConfig } from '../../src/config/load.ts'
import { configReference } from '../../src/config/reference.ts'
import type { Config } from '../../src/config/schema.ts'
import { SluiceError } from '../../src/errors.ts'
import { createLog } from '../../src/telemetry/log.ts'

const folder = mkdtempSync(join(tmpdir(), 'sluicemq-cli-'))
afterAll(() => rmSync(folder, { recursive: true }))

const addresses = { mqtt: { host: '127.0.0.1', port: 1883 }, http: { host: '127.0.0.1', port: 8080 } }

/** A process whose signals and clock the test moves by hand. */
class FakeProcess implements ProcessPort {
  stdout = ''
  stderr = ''
  log: Record<string, unknown>[] = []
  exits: number[] = []
  signal: (signal: 'SIGTERM' | 'SIGINT') => void = () => {}
  crash: (error: unknown) => void = () => {}
  timers: (() => void)[] = []
  started: Config[] = []
  stops = 0
  password = ''
  env: Record<string, string> = {}
  #ready: (() => void)[] = []

  readonly clock: Clock = {
    now: () => 0,
    monotonic: () => 0,
    after: (_ms, fn) => {
      this.timers.push(fn)
      return () => {
        this.timers = this.timers.filter((timer) => timer !== fn)
      }
    },
  }
  out(text: string): void {
    this.stdout += text
    for (const ready of this.#ready.splice(0)) ready()
  }
  err(text: string): void {
    this.stderr += text
  }
  async readPassword(prompt: string): Promise<string> {
    this.stderr += prompt
    return this.password
  }
  onSignal(fn: (signal: 'SIGTERM' | 'SIGINT') => void): () => void {
    this.signal = fn
    return () => {
      this.signal = () => {}
    }
  }
  onCrash(fn: (error: unknown) => void): () => void {
    this.crash = fn
    return () => {}
  }
  exit(code: number): void {
    this.exits.push(code)
  }
  readonly createLog = (config: Config['log']): ReturnType<typeof createLog> =>
    createLog({ ...config, format: 'json' }, { write: (line) => void this.log.push(JSON.parse(line)) })
  /** Resolves with the next output on stdout. */
  output(): Promise<void> {
    return new Promise((resolve) => this.#ready.push(resolve))
  }
  readonly start: StartBroker = async (config) => {
    this.started.push(config)
    return {
      addresses,
      stop: async () => {
        this.stops++
      },
    }
  }
}

async function failing(process: FakeProcess, args: string[], error: unknown = null): Promise<number> {
  return runProgram(args, process, error === null ? process.start : () => Promise.reject(error))
}

describe('start', () => {
  test('prints exactly one line on stdout, drains on SIGTERM and ends with 0', async () => {
    const process = new FakeProcess()
    const ended = runProgram(['start', '--mqtt-port', '0', '--data-dir', '/tmp/x'], process, process.start)
    await process.output()
    expect(process.stdout).toBe(
      'ready mqtt=mqtt://127.0.0.1:1883 ws=ws://127.0.0.1:8080/mqtt http=http://127.0.0.1:8080\n',
    )
    expect(process.started[0]).toMatchObject({ mqttPort: 0, dataDir: '/tmp/x', httpPort: 8080 })
    expect(process.stops).toBe(0)
    process.signal('SIGTERM')
    expect(await ended).toBe(0)
    expect(process.stops).toBe(1)
    expect(process.exits).toEqual([])
    expect(process.timers).toEqual([])
  })

  test('tells a newcomer what to do next', async () => {
    const process = new FakeProcess()
    const ended = runProgram(['start'], process, process.start)
    await process.output()
    process.signal('SIGINT')
    await ended
    const words = process.log.map(({ msg }) => msg).join('\n')
    expect(words).toContain('devices/1/telemetry')
    expect(words).toContain('curl -X POST http://127.0.0.1:8080/api/v1/queues/telemetry/pull')
  })

  test('says that it is ready when everything is served; who stops it before does not wait for that', async () => {
    const process = new FakeProcess()
    let serve = (): void => {}
    const slow: StartBroker = async (config) => {
      const ready = new Promise<void>((resolve) => {
        serve = resolve
      })
      return { ...(await process.start(config, null as never)), ready }
    }
    const ended = runProgram(['start'], process, slow)
    for (let turns = 0; turns < 5; turns++) await new Promise((resolve) => setImmediate(resolve))
    expect([process.started.length, process.stdout]).toEqual([1, ''])
    serve()
    await process.output()
    expect(process.stdout).toMatch(/^ready mqtt=/)
    process.signal('SIGTERM')
    expect(await ended).toBe(0)
    const again = runProgram(['start'], process, slow)
    for (let turns = 0; turns < 5; turns++) await new Promise((resolve) => setImmediate(resolve))
    process.signal('SIGTERM')
    expect(await again).toBe(0)
    expect(process.stops).toBe(2)
  })

  test('a second signal exits at once', async () => {
    const process = new FakeProcess()
    const never: StartBroker = async () => ({ addresses, stop: () => new Promise(() => {}) })
    void runProgram(['start'], process, never)
    await process.output()
    process.signal('SIGINT')
    expect(process.exits).toEqual([])
    process.signal('SIGINT')
    process.signal('SIGTERM')
    expect(process.exits).toEqual([130, 143])
  })

  test('a signal while starting is not lost', async () => {
    const process = new FakeProcess()
    let go: (running: Running) => void = () => {}
    const started = new Promise<Running>((resolve) => {
      go = resolve
    })
    const ended = runProgram(['start'], process, () => started)
    process.signal('SIGTERM')
    go(await process.start({} as Config, {} as never))
    expect(await ended).toBe(0)
    expect(process.stops).toBe(1)
  })

  test('a stop that hangs is given up', async () => {
    const process = new FakeProcess()
    const never: StartBroker = async () => ({ addresses, stop: () => new Promise(() => {}) })
    void runProgram(['start'], process, never)
    await process.output()
    process.signal('SIGTERM')
    while (process.timers.length === 0) await Promise.resolve()
    process.timers[0]!()
    expect(process.exits).toEqual([70])
  })

  test('an error nobody handled is logged and ends the process with 70', async () => {
    const process = new FakeProcess()
    void runProgram(['start'], process, process.start)
    await process.output()
    process.crash(new Error('bug'))
    expect(process.exits).toEqual([70])
    expect(process.log.at(-1)).toMatchObject({ level: 'fatal', err: { message: 'bug' } })
  })

  test('flags win over the environment, the environment over the file', async () => {
    const process = new FakeProcess()
    const file = join(folder, 'c.yaml')
    writeFileSync(file, 'mqttPort: 1\nhttpPort: 2\ndataDir: file\nstore: memory\n')
    process.env = { SLUICEMQ_CONFIG: file, SLUICEMQ_MQTT_PORT: '10', SLUICEMQ_HTTP_PORT: '20' }
    const ended = runProgram(['start', '--http-port', '200'], process, process.start)
    await process.output()
    process.signal('SIGTERM')
    await ended
    expect(process.started[0]).toMatchObject({
      mqttPort: 10,
      httpPort: 200,
      dataDir: 'file',
      store: 'memory',
      bridge: [],
    })
  })

  test('IPv6 addresses are written with brackets', () => {
    const six = { host: '::1', port: 9 }
    expect(readyLine({ mqtt: six, http: six })).toBe(
      'ready mqtt=mqtt://[::1]:9 ws=ws://[::1]:9/mqtt http=http://[::1]:9',
    )
  })
})

describe('failures end with their exit code and a sentence', () => {
  test('64: an unknown option, with a suggestion; an unknown command; no command', async () => {
    const process = new FakeProcess()
    expect(await failing(process, ['start', '--mqtt-prot', '1'])).toBe(64)
    expect(process.stderr).toContain("unknown option '--mqtt-prot'")
    expect(process.stderr).toContain('Did you mean --mqtt-port?')
    expect(await failing(new FakeProcess(), ['strat'])).toBe(64)
    expect(await failing(new FakeProcess(), ['start', 'extra'])).toBe(64)
    expect(await failing(new FakeProcess(), ['start', '--config'])).toBe(64)
    const bare = new FakeProcess()
    expect(await failing(bare, [])).toBe(64)
    expect(bare.stderr).toContain('Usage: sluicemq')
    expect(bare.started).toEqual([])
  })

  test('78: a wrong setting, named; the broker is not started', async () => {
    const process = new FakeProcess()
    expect(await failing(process, ['start', '--mqtt-port', 'abc', '--store', 'disk'])).toBe(78)
    expect(process.stderr).toContain('--mqtt-port: mqttPort: expected a whole number from 0 to 65535, got "abc"\n')
    expect(process.stderr).toContain('--store: store: expected one of lmdb, redis, memory, got "disk"\n')
    expect(process.started).toEqual([])
    expect(process.stdout).toBe('')
  })

  test('78: the network without authentication, until it is asked for by name', async () => {
    const process = new FakeProcess()
    expect(await failing(process, ['start', '--host', '0.0.0.0'])).toBe(78)
    expect(process.stderr).toContain('--allow-anonymous')
    const asked = new FakeProcess()
    const ended = runProgram(['start', '--host', '0.0.0.0', '--allow-anonymous'], asked, asked.start)
    await asked.output()
    asked.signal('SIGTERM')
    expect(await ended).toBe(0)
  })

  test('75: a port in use, named with its flag', async () => {
    const inUse = (port: number) =>
      new SluiceError('address_in_use', `port ${port} of 127.0.0.1 is in use by another process`, { cause: { port } })
    const process = new FakeProcess()
    expect(await failing(process, ['start'], inUse(1883))).toBe(75)
    expect(process.stderr).toBe(
      'sluicemq: port 1883 of 127.0.0.1 is in use by another process\n' +
        'Stop that process or choose another port with --mqtt-port.\n',
    )
    const http = new FakeProcess()
    await failing(http, ['start'], inUse(8080))
    expect(http.stderr).toContain('--http-port')
  })

  test('74: the store; 70: anything nobody thought of, with its stack', async () => {
    const process = new FakeProcess()
    expect(await failing(process, ['start'], new SluiceError('store_locked', './data is in use by process 7'))).toBe(74)
    expect(process.stderr).toContain('Stop the other broker that uses this data directory.')
    const bug = new FakeProcess()
    expect(await failing(bug, ['start'], new TypeError('bug'))).toBe(70)
    expect(bug.stderr).toMatch(/TypeError: bug\n +at /)
    expect(exitCodeOf('a string')).toBe(70)
  })
})

describe('help, version, config', () => {
  test('--help and --version end with 0; help holds every exit code and a first step', async () => {
    const process = new FakeProcess()
    expect(await failing(process, ['--help'])).toBe(0)
    for (const { code, meaning } of Object.values(exitCodes))
      expect(process.stdout).toContain(`${String(code).padEnd(3)}  ${meaning}`)
    expect(process.stdout).toContain('mosquitto_pub')
    const version = new FakeProcess()
    expect(await failing(version, ['--version'])).toBe(0)
    expect(version.stdout).toBe(`${JSON.parse(readFileSync('package.json', 'utf8')).version}\n`)
    const start = new FakeProcess()
    expect(await failing(start, ['start', '--help'])).toBe(0)
    for (const part of ['--config <file>', '--redis-url', '(default: 1883)', 'lmdb, redis, memory']) {
      expect(start.stdout).toContain(part)
    }
  })

  test('config check says yes or what is wrong', async () => {
    const good = join(folder, 'good.yaml')
    const bad = join(folder, 'bad.yaml')
    writeFileSync(good, exampleConfig())
    writeFileSync(bad, 'mqttPotr: 1\n')
    const process = new FakeProcess()
    expect(await failing(process, ['config', 'check', good])).toBe(0)
    expect(process.stdout).toContain('is valid: 1 bridge rule, 0 queues configured')
    expect(await failing(process, ['config', 'check', bad])).toBe(78)
    expect(process.stderr).toBe(`${bad}:1: mqttPotr: unknown key; did you mean mqttPort?\n`)
  })

  test('config example, docs and schema print what they promise', async () => {
    for (const [name, check] of [
      ['example', (text: string) => expect(text).toBe(exampleConfig())],
      ['docs', (text: string) => expect(text).toBe(configReference())],
      ['schema', (text: string) => expect(JSON.parse(text).properties.mqttPort.maximum).toBe(65535)],
    ] as const) {
      const process = new FakeProcess()
      expect(await failing(process, ['config', name])).toBe(0)
      check(process.stdout)
    }
  })
})

describe('user scram', () => {
  test('prints what the config file keeps of a password, and nothing else', async () => {
    const process = new FakeProcess()
    process.password = 'pencil'
    expect(await failing(process, ['user', 'scram', 'sensor-1', '--iterations', '4096'])).toBe(0)
    expect(process.stdout).not.toContain('pencil')
    const path = join(folder, 'scram.yaml')
    writeFileSync(path, process.stdout)
    const { users } = loadConfig({ file: path }).authentication.scram
    const user = users['sensor-1']!
    const keys = await scramKeys('pencil', Buffer.from(user.salt, 'base64'), 4096)
    expect(user.storedKey).toBe(keys.storedKey.toString('base64'))
    expect(user.serverKey).toBe(keys.serverKey.toString('base64'))
    const again = new FakeProcess()
    again.password = 'pencil'
    await failing(again, ['user', 'scram', 'sensor-1', '--iterations', '4096'])
    expect(again.stdout).not.toBe(process.stdout)
  })

  test('64: too few iterations, an empty password, a name that is none', async () => {
    const process = new FakeProcess()
    expect(await failing(process, ['user', 'scram', 'x'])).toBe(64)
    expect(process.stderr).toContain('the password is empty')
    process.password = 'x'
    expect(await failing(process, ['user', 'scram', 'x', '--iterations', '4095'])).toBe(64)
    expect(process.stderr).toContain('--iterations: expected a whole number from 4096')
    expect(await failing(process, ['user', 'scram', '\u0007'])).toBe(64)
    expect(process.stdout).toBe('')
  })

  test('on a terminal the password is not shown; backspace takes back, Ctrl-C gives up', async () => {
    const shown: string[] = []
    const modes: boolean[] = []
    const terminal = (): PassThrough & { isTTY: boolean } =>
      Object.assign(new PassThrough(), { isTTY: true, setRawMode: (on: boolean) => void modes.push(on) })
    const typing = terminal()
    const read = readPassword(typing, 'password: ', (text) => void shown.push(text))
    typing.write('geheim\u00df')
    typing.write('\u007fnis\r')
    expect(await read).toBe('geheimnis')
    expect(shown).toEqual(['password: ', '\n'])
    expect(modes).toEqual([true, false])
    const leaving = terminal()
    const left = readPassword(leaving, '', () => {})
    leaving.write('abc\u0003')
    await expect(left).rejects.toThrow('interrupted')
  })

  test('from a pipe it is the first line', async () => {
    const pipe = new PassThrough()
    pipe.end('geheim nis\r\nmore\n')
    expect(await readPassword(pipe, 'password: ', () => expect.unreachable())).toBe('geheim nis')
  })
})

test('docs/exit-codes.md has the table of the code', () => {
  const page = readFileSync('docs/exit-codes.md', 'utf8')
  const rows = [...page.matchAll(/^\| (\d+) \| (.*) \| (yes|no) \|$/gm)].map(([, code, meaning, restart]) => ({
    code: Number(code),
    meaning,
    restart,
  }))
  expect(rows).toEqual(Object.values(exitCodes).map((row) => ({ ...row })))
})
