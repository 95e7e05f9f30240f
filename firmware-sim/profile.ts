/**
 * A profile says how one kind of device behaves: what it sends, where it reports its status, which commands it
 * answers, and what it does when the connection is gone.
 */
import { readFileSync } from 'node:fs'
import * as z from 'zod'
import { PayloadTemplate } from './payload.ts'

/** A mistake of the person at the keyboard: exit code 2. The message says what to correct. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** A Topic Name with `{device}` in it. */
const topicTemplate = z
  .string()
  .min(1)
  .max(1000)
  .refine((topic) => topic.includes('{device}'), 'must contain {device}')
  .refine((topic) => !/[+#\0]/.test(topic), 'is a Topic Name: + and # do not belong in it')

const payloadTemplate = z.record(z.string(), z.unknown()).check((context) => {
  try {
    new PayloadTemplate(context.value)
  } catch (error) {
    context.issues.push({ code: 'custom', input: context.value, message: (error as Error).message })
  }
})

const backoffSchema = z.strictObject({
  minMs: z.number().int().min(1).max(60_000).default(200),
  maxMs: z.number().int().min(1).max(600_000).default(5_000),
  factor: z.number().min(1).max(10).default(2),
  jitter: z.number().min(0).max(1).default(0.5),
})

export const profileSchema = z.strictObject({
  name: z.string().min(1).default('custom'),
  telemetry: z.strictObject({
    topic: topicTemplate.default('devices/{device}/telemetry'),
    /** Messages per second and device. */
    ratePerSecond: z.number().positive().max(10_000).default(1),
    payload: payloadTemplate.default({
      run: '{run}',
      device: '{device}',
      sequence: '{sequence}',
      time: '{time}',
      celsius: '{random:18:25}',
    }),
  }),
  /** A retained message that tells whether the device is there; the broker publishes `offline` as its will. */
  status: z
    .strictObject({
      topic: topicTemplate.default('devices/{device}/status'),
      online: z.string().min(1).default('online'),
      offline: z.string().min(1).default('offline'),
    })
    .optional(),
  /** Commands the device subscribes to (QoS 1), and answers one by one. */
  commands: z
    .strictObject({
      topic: topicTemplate.default('devices/{device}/commands'),
      replyTopic: topicTemplate.default('devices/{device}/commands/reply'),
      /** Commands per minute and device. */
      perMinute: z.number().positive().max(6_000).default(6),
    })
    .optional(),
  connection: z
    .strictObject({
      keepAliveSeconds: z.number().int().min(1).max(65_535).default(30),
      /** QoS 1 and 2 messages sent and not yet acknowledged; later ones wait in the device. */
      inflightMax: z.number().int().min(1).max(1_000).default(20),
      backoff: backoffSchema.prefault({}),
    })
    .prefault({}),
  offline: z
    .strictObject({
      /** Messages the device keeps while it cannot send. When full the oldest is discarded, and counted. */
      bufferMax: z.number().int().min(1).max(1_000_000).default(10_000),
    })
    .prefault({}),
})

export type Profile = z.infer<typeof profileSchema>

/** The profiles that need no file. */
export const builtInProfiles: Readonly<Record<string, Profile>> = {
  telemetry: profileSchema.parse({ name: 'telemetry', telemetry: {}, status: {}, commands: {} }),
}

/** Checks a profile given as data. Throws `UsageError` naming each key that is wrong. */
export function parseProfile(value: unknown, source: string): Profile {
  const result = profileSchema.safeParse(value)
  if (result.success) return result.data
  const lines = result.error.issues.map((issue) => `  ${issue.path.join('.') || '(the file)'}: ${issue.message}`)
  throw new UsageError(`the profile ${source} is not valid:\n${lines.join('\n')}`)
}

/** A built-in profile by name, or a JSON file by path. Throws `UsageError`. */
export function loadProfile(nameOrFile: string): Profile {
  const builtIn = builtInProfiles[nameOrFile]
  if (builtIn !== undefined) return builtIn
  let text: string
  try {
    text = readFileSync(nameOrFile, 'utf8')
  } catch {
    const names = Object.keys(builtInProfiles).join(', ')
    throw new UsageError(`no profile called ${nameOrFile}: built in are ${names}; anything else is a JSON file`)
  }
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new UsageError(`the profile ${nameOrFile} is not JSON: ${(error as Error).message}`)
  }
  return parseProfile(value, nameOrFile)
}

/** The Topic Name of one device. */
export function topicOf(template: string, device: string): string {
  return template.replaceAll('{device}', device)
}

/** The Topic Filter that matches the template for every device. */
export function topicFilterOf(template: string): string {
  return template
    .split('/')
    .map((level) => (level.includes('{device}') ? '+' : level))
    .join('/')
}
