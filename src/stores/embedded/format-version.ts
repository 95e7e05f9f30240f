/** The version of the layout, written when a data directory is first used and checked ever after. */
import { SluiceError } from '../../errors.ts'
import type { Engine } from './engine.ts'
import { type Table, table } from './keys.ts'

/** Raised when data written before cannot be read as they are; `migrations.ts` has a step from each to the next. */
export const FORMAT_VERSION = 2

export const formatKey = Buffer.from([table.internal, ...Buffer.from('format')])

/** Null: nothing was ever written. @throws SluiceError store_corrupt for data that do not tell their format */
export function readFormat(engine: Engine): number | null {
  const found = engine.get(formatKey)?.toString()
  if (found === undefined) {
    const any = engine.keys(Buffer.from([table.meta satisfies Table]), Buffer.from([0xff]), 1)
    if (any.length > 0) throw new SluiceError('store_corrupt', 'The data directory does not say its format.')
    return null
  }
  if (!/^[1-9]\d{0,8}$/.test(found))
    throw new SluiceError('store_corrupt', `The data directory says its format is ${JSON.stringify(found)}.`)
  return Number(found)
}

export function formatValue(version: number): Buffer {
  return Buffer.from(String(version))
}

/** @throws SluiceError store_version */
export function refuseNewer(found: number): void {
  if (found <= FORMAT_VERSION) return
  throw new SluiceError(
    'store_version',
    `The data directory has format ${found}; this version knows formats up to ${FORMAT_VERSION}.`,
  )
}
