import { z } from 'zod'
import { integer, KIB, MIB } from './number.ts'

export const queueName = z
  .string()
  .min(1)
  .max(200)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: refusing them is the point
  .regex(/^[^\u0000-\u001f\u007f]+$/, 'a name of 1 to 200 characters without control characters')

const backoff = z
  .strictObject({
    minMs: integer(1, 86_400_000, 500, 'Delay before the second attempt, in ms.'),
    maxMs: integer(1, 604_800_000, 300_000, 'Longest delay between two attempts, in ms.'),
    factor: z.number().min(1).max(100).default(2).describe('Each delay is this many times the one before.'),
    jitter: z
      .enum(['full', 'none'])
      .default('full')
      .describe(
        '`full`: a random delay between 0 and the computed one, so that failed messages do not return at once.',
      ),
  })
  .prefault({})
  .describe('How long a message that failed waits before its next attempt.')

const limits = z
  .strictObject({
    messagesMax: integer(1, 10_000_000_000, 100_000_000, 'Messages not done, of each consumer group.'),
    bytesMax: integer(KIB, 1024 * 1024 * 1024 * MIB, 1024 * 1024 * MIB, 'Bytes of those messages.'),
    whenFull: z
      .enum(['block', 'refuse', 'drop-oldest', 'drop-new', 'overflow'])
      .default('refuse')
      .describe(
        '`block`: the publisher waits `blockMs`, then is refused. `refuse`: MQTT 5 hears 0x97, the connection of an MQTT 3 ' +
          'client ends. `drop-oldest`: what waited longest goes. `drop-new`: taken and not kept. `overflow`: into `overflowQueue`.',
      ),
    blockMs: integer(1, 600_000, 10_000, 'How long `block` lets a publisher wait, in ms.'),
    overflowQueue: queueName.exactOptional().describe('Queue that takes what does not fit, for `overflow`.'),
  })
  .prefault({})
  .describe('How much the queue takes, and what happens to a message that finds it full.')

/** Settings of one work queue. */
export const queueSettingsSchema = z
  .strictObject({
    leaseMs: integer(100, 43_200_000, 30_000, 'Lease of a pull that names none, in ms. At most 12 hours.'),
    maxAttempts: integer(1, 1_000_000, 10, 'Attempts before a message becomes a dead letter.'),
    backoff,
    deadLetterQueue: queueName
      .exactOptional()
      .describe('Queue that takes messages which used up their attempts. Default: the name of the queue and `.dead`.'),
    limits,
  })
  .describe('Settings of this queue.')
