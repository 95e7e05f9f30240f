/** The version of the layout, written when a data directory is first used and checked ever after. */
import { SluiceError } from '../../errors.ts'
import type { Engine } from './engine.ts'
import type { Group } from './group.ts'
import { table } from './keys.ts'

/** Raised when data written before cannot be read as they are; see ../README.md. */
export const FORMAT_VERSION = 1

const formatKey = Buffer.from([table.internal, ...Buffer.from('format')])

/** @throws SluiceError store_version for another version, store_corrupt for data that do not tell theirs. */
export function checkFormat(engine: Engine): 'empty' | 'known' {
  const found = engine.get(formatKey)
  if (found === undefined) {
    const any = engine.keys(Buffer.from([table.meta]), Buffer.from([0xff]), 1)
    if (any.length > 0) throw new SluiceError('store_corrupt', 'The data directory does not say its format.')
    return 'empty'
  }
  if (found.toString() !== String(FORMAT_VERSION)) {
    throw new SluiceError(
      'store_version',
      `The data directory has format ${found.toString()}; this version reads format ${FORMAT_VERSION}.`,
    )
  }
  return 'known'
}

export function writeFormat(group: Group): void {
  group.write('internal', formatKey, Buffer.from(String(FORMAT_VERSION)))
}
