/** The machine and the code a result belongs to. No host or user names: results are published. */
import { execFile } from 'node:child_process'
import { statfs } from 'node:fs/promises'
import os from 'node:os'
import { fileURLToPath } from 'node:url'

export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly memoryGiB: number
  readonly system: string
  readonly node: string
  /** File system the brokers' data lie on. A commit on tmpfs costs nothing and proves nothing. */
  readonly dataFileSystem: string
  /** Load average over one minute before the first run: above about 0.3 the machine was not ours alone. */
  readonly loadAverage: number
  /** Commit of this project, with `+` when the checkout differs from it; null outside git. */
  readonly commit: string | null
}

const FILE_SYSTEMS: Readonly<Record<number, string>> = {
  61267: 'ext4',
  16914836: 'tmpfs',
  1481003842: 'xfs',
  2435016766: 'btrfs',
  2035054128: 'overlayfs',
  801189825: 'zfs',
}

export async function machine(dataRoot: string): Promise<Machine> {
  const { type } = await statfs(dataRoot)
  return {
    cpu: os.cpus()[0]?.model.trim() ?? 'unknown',
    cores: os.availableParallelism(),
    memoryGiB: Math.round(os.totalmem() / 2 ** 30),
    system: `${os.type()} ${os.release()} ${os.arch()}`,
    node: process.versions.node,
    dataFileSystem: FILE_SYSTEMS[type] ?? `0x${type.toString(16)}`,
    loadAverage: os.loadavg()[0]!,
    commit: await commit(),
  }
}

async function commit(): Promise<string | null> {
  const hash = await git('rev-parse', '--short', 'HEAD')
  if (hash === null) return null
  const changes = await git('status', '--porcelain', '--untracked-files=no')
  return changes === '' ? hash : `${hash}+`
}

function git(...args: string[]): Promise<string | null> {
  const cwd = fileURLToPath(new URL('../..', import.meta.url))
  return new Promise((resolve) => {
    execFile('git', args, { cwd }, (error, stdout) => resolve(error ? null : stdout.trim()))
  })
}
