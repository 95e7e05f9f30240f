import { SluiceError } from '../errors.ts'
import { countLevelBytes } from '../wire/topic.ts'

/**
 * Holds the Topic Name in `buf[start..end)` to the limits.
 * @throws SluiceError topic_name_invalid
 */
export function checkTopicSize(
  { topicBytesMax, topicLevelsMax }: { readonly topicBytesMax: number; readonly topicLevelsMax: number },
  buf: Buffer,
  start: number,
  end: number,
): void {
  const bytes = end - start
  if (bytes > topicBytesMax)
    throw new SluiceError(
      'topic_name_invalid',
      `Topic Name of ${bytes} bytes; limits.topicBytesMax is ${topicBytesMax}`,
    )
  const levels = countLevelBytes(buf, start, end)
  if (levels > topicLevelsMax)
    throw new SluiceError(
      'topic_name_invalid',
      `Topic Name of ${levels} levels; limits.topicLevelsMax is ${topicLevelsMax}`,
    )
}
