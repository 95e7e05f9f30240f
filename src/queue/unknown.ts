import { nearest } from '../config/nearest.ts'
import { SluiceError } from '../errors.ts'

/** Says that there is no such queue, and what may have been meant. */
export function unknownQueue(
  name: string,
  queues: Iterable<{ readonly name: string; readonly deadLetterQueue: string }>,
): SluiceError {
  const all = [...queues]
  const dying = all.find(({ deadLetterQueue }) => deadLetterQueue === name)
  const near = nearest(
    name,
    all.map((queue) => queue.name),
  )
  const hint =
    dying !== undefined
      ? `: nothing of ${JSON.stringify(dying.name)} has gone to the dead letters yet`
      : near === null
        ? ''
        : `; did you mean ${JSON.stringify(near)}?`
  return new SluiceError('queue_unknown', `there is no queue named ${JSON.stringify(name)}${hint}`)
}
