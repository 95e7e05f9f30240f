import fc from 'fast-check'
import { SluiceError } from '../../src/errors.ts'

/** 'ok', or the code of the SluiceError; anything else that is thrown is a bug. */
export function outcome(run: () => unknown): string {
  try {
    run()
    return 'ok'
  } catch (error) {
    if (error instanceof SluiceError) return error.code
    throw error
  }
}

/** The bytes of a packet, some of them changed, removed or added. */
export const damage = fc.array(fc.tuple(fc.nat(), fc.nat(255), fc.constantFrom('set', 'cut', 'add')), { maxLength: 4 })

export function damaged(body: Buffer, changes: [number, number, string][]): Buffer {
  const out = [...body]
  for (const [where, byte, what] of changes) {
    const at = where % (out.length + 1)
    if (what === 'set') out[at] = byte
    else out.splice(at, what === 'cut' ? 1 : 0, ...(what === 'add' ? [byte] : []))
  }
  return Buffer.from(out)
}
