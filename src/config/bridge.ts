import { z } from 'zod'
import { queueName } from './queues.ts'

const path = z.string().min(1).max(1024)
const templateText = z.string().min(1).max(65_535)
const scalar = z.union([z.string(), z.number(), z.boolean(), z.null()])

/** Beyond this, numbers of JSON are no longer exact. */
const comparable = z.number().min(-1e15).max(1e15)

const condition = z.strictObject({
  level: z
    .string()
    .min(1)
    .max(255)
    .exactOptional()
    .describe('Looks at a named level of the filter, or at one by place.'),
  payload: path.exactOptional().describe('Looks at a value of the JSON payload: `temperature`, `gps.lat`, `/gps/lat`.'),
  property: z.string().max(65_535).exactOptional().describe('Looks at a user property (MQTT 5).'),
  message: z
    .enum(['clientId', 'userName', 'topic', 'qos', 'retain'])
    .exactOptional()
    .describe('Looks at a fact of the message.'),
  equals: scalar.exactOptional().describe('Is this text, number, true, false or null.'),
  not: scalar.exactOptional().describe('Is anything but this; also when there is nothing.'),
  in: z.array(scalar).min(1).max(10_000).exactOptional().describe('Is one of these.'),
  gt: comparable.exactOptional().describe('Is a number greater than this.'),
  gte: comparable.exactOptional().describe('Is a number not less than this.'),
  lt: comparable.exactOptional().describe('Is a number less than this.'),
  lte: comparable.exactOptional().describe('Is a number not greater than this.'),
  exists: z.boolean().exactOptional().describe('Is there, or is not.'),
  startsWith: z.string().exactOptional().describe('Is text that starts so.'),
  endsWith: z.string().exactOptional().describe('Is text that ends so.'),
  contains: z.string().exactOptional().describe('Is text with this in it, or a list that has it.'),
})

const transform = z
  .strictObject({
    pick: z.array(path).min(1).max(1000).exactOptional().describe('Paths of the payload that stay.'),
    remove: z.array(path).min(1).max(1000).exactOptional().describe('Paths of the payload that go.'),
    rename: z.record(path, path).exactOptional().describe('New path by old path.'),
    set: z.record(path, z.unknown()).exactOptional().describe('Constants by path; references in text are filled in.'),
    template: templateText.exactOptional().describe('The whole payload as text with references.'),
  })
  .describe('What becomes of the JSON payload on its way into the queue. Subscribers get what was published.')

/** One bridge rule: what is published to matching topics is kept in a durable queue. */
export const bridgeRuleSchema = z.strictObject({
  name: z
    .string()
    .min(1)
    .max(200)
    // biome-ignore lint/suspicious/noControlCharactersInRegex: refusing them is the point
    .regex(/^[^\u0000-\u001f\u007f]+$/, 'a name of 1 to 200 characters without control characters')
    .exactOptional()
    .describe('Name for the API and the command line. Default: the Topic Filter, `>` and the queue.'),
  topicFilter: z
    .string()
    .min(1)
    .max(65_535)
    .describe(
      'MQTT Topic Filter, e.g. `devices/+/telemetry`; levels may have names: `site/{site}/#`, `logs/{rest...}`.',
    ),
  queue: queueName.describe('Name of the queue that receives the messages.'),
  when: z
    .array(condition)
    .min(1)
    .max(100)
    .exactOptional()
    .describe('Conditions that must all hold, e.g. `{ payload: temperature, gt: 40 }`.'),
  sample: z
    .number()
    .min(0.000001)
    .max(1)
    .exactOptional()
    .describe('Share of the messages that is kept, chosen at random: 0.1 is one in ten.'),
  rate: z
    .strictObject({
      perSecond: z.number().min(0.001).max(1_000_000).describe('Messages a second that are kept of each sender.'),
      burst: z.int().min(1).max(1_000_000).default(1).describe('Messages that may come at once.'),
      by: templateText.default('{client}').describe('What tells senders apart, with references.'),
    })
    .exactOptional()
    .describe('What a sender publishes faster is not kept by this rule.'),
  schema: z
    .record(z.string(), z.unknown())
    .exactOptional()
    .describe('JSON Schema (draft-07, or 2020-12 by `$schema`) that payloads must fit.'),
  invalid: z
    .enum(['refuse', 'quarantine', 'drop'])
    .exactOptional()
    .describe(
      'What becomes of payloads that do not fit `schema` or `transform`. `refuse`: reason code 0x99 (MQTT 5), or the ' +
        'connection closes. `quarantine` (default): kept in another queue, with the reason.',
    ),
  quarantineQueue: queueName.exactOptional().describe('Default: the name of the queue and `.invalid`.'),
  transform: transform.exactOptional(),
  key: templateText
    .exactOptional()
    .describe('Ordering key, e.g. `{client}` or `{level:device}`: messages of one key are worked one after the other.'),
  deduplicate: templateText
    .exactOptional()
    .describe(
      'Idempotency key, e.g. `{property:id}` or `{payload:/id}`: of messages with one key the queue takes the first. ' +
        '`{retransmission}`: what a device sends again because it got no PUBACK.',
    ),
  priority: z.int().min(0).max(9).exactOptional().describe('9 is handed out first. Default 4.'),
  delayMs: z.int().min(0).max(31_622_400_000).exactOptional().describe('Time until workers may have it, in ms.'),
  ttlMs: z.int().min(1).max(31_622_400_000).exactOptional().describe('Time it may wait in the queue, in ms.'),
})
