import { z } from 'zod'
import { queueName } from './queues.ts'

/** One bridge rule: what is published to matching topics is kept in a durable queue. */
export const bridgeRuleSchema = z.strictObject({
  topicFilter: z.string().min(1).max(65_535).describe('MQTT Topic Filter, e.g. `devices/+/telemetry`.'),
  queue: queueName.describe('Name of the queue that receives the messages.'),
})
