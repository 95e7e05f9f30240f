/** What Redis says instead of an answer, and what it means for what was sent. */
import { SluiceError } from '../../errors.ts'
import { passes, refusal } from './link.ts'

/**
 * The error that commits fail with when nothing was written; `again`: nothing is known, or it passes; `elsewhere`: the server
 * is no master any more; `passed over`: other nodes took sessions from this one.
 */
export function judge(error: unknown): SluiceError | 'again' | 'elsewhere' | 'passed over' {
  const why = refusal(error)
  if (why === 'READONLY') return 'elsewhere'
  if (why === 'NODE_PASSED_OVER') return 'passed over'
  if (passes(error)) return 'again'
  const { message } = error as Error
  if (why === 'NODE_FENCED') return new SluiceError('node_fenced', 'Other nodes declared this node dead.')
  if (why === 'OOM') return new SluiceError('store_full', `Redis has no memory left: ${message}`)
  return unavailable(message)
}

export const unavailable = (why: string): SluiceError =>
  new SluiceError('store_unavailable', `Redis did not store it: ${why}`)
