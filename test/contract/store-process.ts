/** Runs a script against the LMDB store in a process of its own, so that it can be killed. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import fs from 'node:fs/promises'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'

const root = path.resolve(import.meta.dirname, '../..')

/** Compiles the store as it is now; resolves to the folder, below node_modules so that packages are found. */
export async function compileStore(): Promise<string> {
  const parent = path.join(root, 'node_modules', '.cache')
  await fs.mkdir(parent, { recursive: true })
  const out = await fs.mkdtemp(path.join(parent, 'sluicemq-store-'))
  const options = ['--module', 'nodenext', '--target', 'es2023', '--types', 'node', '--skipLibCheck']
  await promisify(execFile)(
    process.execPath,
    [
      path.join(root, 'node_modules/typescript/bin/tsc'),
      '--ignoreConfig',
      '--rewriteRelativeImportExtensions',
      '--rootDir',
      path.join(root, 'src'),
      '--outDir',
      out,
      ...options,
      path.join(root, 'src/stores/lmdb.ts'),
    ],
    { cwd: root },
  )
  await fs.writeFile(path.join(out, 'package.json'), '{"type":"module"}')
  return out
}

export interface StoreProcess {
  child: ChildProcess
  /** Lines it has written so far. */
  lines: string[]
  /** Resolves with the first line that starts so; rejects when the process ends before. */
  line(start: string): Promise<string>
  /** Resolves when `lines` has that many, or the process has ended. */
  count(lines: number): Promise<void>
  /** SIGKILL, and waits for the end. */
  kill(): Promise<void>
  ended: Promise<number | null>
}

/**
 * Starts `script`, the body of an async function that knows `store` (open, on `dir`), `lane(name)`, `targets(...names)` and `say(text)`,
 * which writes a line before it returns.
 */
export function startStore(compiled: string, dir: string, script: string, prefix: string[] = []): StoreProcess {
  const source = `
    import fs from 'node:fs'
    import { systemClock } from ${JSON.stringify(path.join(compiled, 'base/clock.js'))}
    import { lmdbStore } from ${JSON.stringify(path.join(compiled, 'stores/lmdb.js'))}
    const say = (text) => fs.writeSync(1, text + '\\n')
    const store = lmdbStore({ dir: ${JSON.stringify(dir)}, clock: systemClock })
    const lane = (name) => store.lane(name)
    const targets = (...names) => names.map((name) => ({ lane: store.lane(name), tag: 0, extra: null }))
    try { await store.open() } catch (error) { say('refused ' + error.code); process.exit(3) }
    ${script}
  `
  const [command, ...args] = [...prefix, process.execPath, '--input-type=module', '-e', source]
  const child = spawn(command!, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let errors = ''
  child.stderr!.on('data', (data) => {
    errors += data
  })
  const lines: string[] = []
  let wake: (() => void)[] = []
  const notify = (): void => {
    const all = wake
    wake = []
    for (const each of all) each()
  }
  const reader = createInterface({ input: child.stdout! })
  reader.on('line', (line) => {
    lines.push(line)
    notify()
  })
  let closed = false
  const ended = new Promise<number | null>((resolve) => {
    reader.on('close', () => {
      closed = true
      notify()
    })
    child.on('close', (code) => resolve(code))
  })
  const until = async (test: () => boolean): Promise<void> => {
    while (!test() && !closed) await new Promise<void>((resolve) => wake.push(resolve))
  }
  return {
    child,
    lines,
    ended,
    async line(start) {
      await until(() => lines.some((line) => line.startsWith(start)))
      const found = lines.find((line) => line.startsWith(start))
      if (found === undefined) throw new Error(`The process ended without "${start}": ${lines.join('; ')} ${errors}`)
      return found
    },
    count: (n) => until(() => lines.length >= n),
    async kill() {
      child.kill('SIGKILL')
      await ended
    },
  }
}
