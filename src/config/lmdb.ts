import { z } from 'zod'
import { integer, MIB } from './number.ts'

/** `lmdb`: the file of the embedded store. */
export const lmdbSchema = z
  .strictObject({
    compactFreePercent: integer(
      0,
      99,
      50,
      'At start the file is written anew when more than this share of it holds nothing. 0: never.',
    ),
    compactBytesMin: integer(0, 1024 * 1024 * 1024 * MIB, 256 * MIB, 'Files smaller than this are left as they are.'),
  })
  .prefault({})
  .describe('The file of `store: lmdb`. It grows to the fullest moment there was; what is freed is used again.')
