/** What LMDB's and the system's error codes mean for the broker. */
import fs from 'node:fs/promises'
import { setImmediate } from 'node:timers/promises'
import { SluiceError } from '../../errors.ts'
import type { WriteBatch } from '../embedded/engine.ts'
import { damaged } from './file.ts'

/** ENOSPC, EDQUOT, EFBIG and LMDB's MDB_MAP_FULL. */
const FULL = new Set([28, 122, 27, -30792])
/** LMDB: MDB_CORRUPTED, MDB_INVALID, MDB_PAGE_NOTFOUND, MDB_VERSION_MISMATCH, and MDB_BAD_TXN, which follows from one of them. */
const DAMAGED = new Set([-30796, -30793, -30797, -30794, -30782])
/** Free space below which a short write is put down to a full disk; LMDB reports one as EIO. */
const SCARCE_BYTES = 1024 * 1024

/** The error of a commit that LMDB refused. */
export async function commitError(cause: unknown, dir: string, batch: WriteBatch): Promise<SluiceError> {
  if (cause instanceof SluiceError) return cause
  const code = codeOf(await reasonOf(cause))
  const wanted = batch.values.reduce((sum, value) => sum + (value?.length ?? 0), 0)
  if ((code !== undefined && FULL.has(code)) || (await isScarce(dir, wanted))) {
    return new SluiceError('store_full', `No room for ${wanted} bytes under ${dir}.`, { cause })
  }
  const detail = cause instanceof Error ? cause.message : String(cause)
  return new SluiceError(
    'store_unavailable',
    `Writing under ${dir} failed: ${detail}${code === undefined ? '' : ` (${code})`}.`,
    {
      cause,
    },
  )
}

/** The error of an open or a read that did not succeed. */
export function accessError(cause: unknown, dir: string): SluiceError {
  if (cause instanceof SluiceError) return cause
  const code = codeOf(cause)
  const detail = cause instanceof Error ? cause.message : String(cause)
  if (code !== undefined && DAMAGED.has(code)) return damaged(dir, detail, cause)
  const full = code !== undefined && FULL.has(code)
  return new SluiceError(full ? 'store_full' : 'store_unavailable', `Reading ${dir} failed: ${detail}.`, { cause })
}

/** lmdb rejects with an error whose `commitError` rejects, soon after, with the one that tells why. */
async function reasonOf(cause: unknown): Promise<unknown> {
  if (!(cause instanceof Error) || !('commitError' in cause)) return cause
  let reason: unknown = cause
  Promise.resolve(cause.commitError).catch((error) => {
    reason = error
  })
  for (let turn = 0; turn < 3 && reason === cause; turn++) await setImmediate()
  return reason
}

function codeOf(error: unknown): number | undefined {
  if (!(error instanceof Error)) return undefined
  const { code, errno } = error as { code?: unknown; errno?: unknown }
  if (typeof code === 'number') return code
  // Node's own errors carry a name in `code` and the negated number in `errno`.
  return typeof errno === 'number' ? -errno : undefined
}

async function isScarce(dir: string, wanted: number): Promise<boolean> {
  try {
    const { bavail, bsize } = await fs.statfs(dir)
    return bavail * bsize < wanted + SCARCE_BYTES
  } catch {
    return false
  }
}
