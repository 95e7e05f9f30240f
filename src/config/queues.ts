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
    ageMs: integer(0, 31_536_000_000, 0, 'Time after which a message nobody took is given up, in ms. 0: never.'),
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

/** The second part of the name of a consumer group's queue. */
const groupName = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, 'letters, digits, dot, dash and underscore, at most 63')

function rate(whose: string) {
  return {
    perSecond: z.number().min(0).max(10_000_000).default(0).describe(`Deliveries ${whose} a second. 0: no limit.`),
    burst: integer(1, 1_000_000, 1, 'Deliveries that may come at once after a pause.'),
  }
}

const keys = z
  .strictObject({
    leasedMax: integer(
      1,
      1_000_000,
      1,
      'Messages of one ordering key with workers, or waiting for their next attempt, at one time. 1: strictly in order.',
    ),
    ...rate('of one ordering key'),
    parkedMax: integer(
      1,
      10_000_000,
      10_000,
      'Messages looked past because their key is busy. At the limit the queue waits for those keys.',
    ),
  })
  .prefault({})
  .describe('How messages with an ordering key are handed out.')

const deduplication = z
  .strictObject({
    windowMs: integer(0, 2_592_000_000, 600_000, 'How long a deduplication key is remembered, in ms. 0: not at all.'),
    keysMax: integer(1, 100_000_000, 100_000, 'Keys remembered; the oldest go.'),
  })
  .prefault({})
  .describe('For messages that carry a deduplication key: only the first with a key enters.')

const retention = z
  .strictObject({
    ms: integer(0, 31_536_000_000, 0, 'How long messages are kept for replay after they came, in ms. 0: not at all.'),
    bytesMax: integer(KIB, 1024 * 1024 * 1024 * MIB, 1024 * MIB, 'Bytes kept for replay; the oldest go.'),
  })
  .prefault({})
  .describe('What is kept for replay, done or not.')

const redisWorkers = z
  .strictObject({
    enabled: z
      .boolean()
      .default(false)
      .describe(
        'Any Redis client is a worker: messages are handed out through the stream `sluicemq:work:<queue>` too (docs/redis.md). ' +
          'Needs `store: redis`.',
      ),
    prefetch: integer(
      1,
      10_000,
      1000,
      'Messages in the stream or with workers that read it, at a time, of each group.',
    ),
  })
  .prefault({})
  .describe('Workers that take messages from a Redis Stream.')

/** Settings of one work queue. */
export const queueSettingsSchema = z
  .strictObject({
    leaseMs: integer(100, 43_200_000, 30_000, 'Lease of a pull that names none, in ms. At most 12 hours.'),
    maxAttempts: integer(1, 1_000_000, 10, 'Attempts before a message becomes a dead letter.'),
    backoff,
    deadLetterQueue: queueName
      .exactOptional()
      .describe('Queue that takes messages which used up their attempts. Default: the name of the queue and `.dead`.'),
    groups: z
      .array(groupName)
      .max(100)
      .default([])
      .describe('Consumer groups beside the queue itself: each sees every message, as the queue `<name>@<group>`.'),
    limits,
    leasedMax: integer(0, 1_000_000, 0, 'Messages with workers at one time, of each group. 0: no limit.'),
    rate: z.strictObject(rate('of each group')).prefault({}).describe('How fast messages are handed out.'),
    keys,
    ageingMs: integer(
      0,
      86_400_000,
      60_000,
      'Each such time of waiting lifts a message by one priority, in ms, so that nothing waits for ever. 0: never.',
    ),
    deduplication,
    retention,
    redisWorkers,
  })
  .describe('Settings of this queue.')
