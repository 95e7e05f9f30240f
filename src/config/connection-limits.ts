/** Limits of one connection and its session: they may differ by listener and by user (`limitOverrides`). */
import { z } from 'zod'
import { integer, KIB, MIB } from './number.ts'

/** What happens to a QoS 1 or 2 message for a session that is full. */
export const fullPolicies = ['drop-new', 'drop-oldest', 'disconnect', 'refuse'] as const
export type FullPolicy = (typeof fullPolicies)[number]

export const connectionLimits = {
  packetBytesMax: integer(64, 268_435_460, MIB, 'Largest MQTT packet accepted, in bytes with its header.'),
  connectionsPerListenerMax: integer(0, 10_000_000, 0, 'Connections of one listener. 0: as many as `connectionsMax`.'),
  connectionsPerAddressMax: integer(0, 10_000_000, 0, 'Connections from one IP address. 0: any number.'),
  connectionsPerUserMax: integer(0, 10_000_000, 0, 'Connections of one user name. 0: any number.'),
  connectsPerSecondMax: integer(
    0,
    10_000_000,
    5000,
    'CONNECT packets a second to one listener, over time; twice as many may come at once. More are refused (0x9F). 0: any.',
  ),
  connectsPerSecondPerAddressMax: integer(
    0,
    10_000_000,
    0,
    'CONNECT packets a second from one IP address, as above. 0: any number.',
  ),
  publishesPerSecondMax: integer(
    0,
    10_000_000,
    0,
    'PUBLISH packets a second from one connection, over time; a second’s worth may come at once. A faster client is ' +
      'slowed down by not reading from it. 0: any number.',
  ),
  publishBytesPerSecondMax: integer(
    0,
    4096 * MIB,
    0,
    'Bytes of PUBLISH packets a second from one connection, as above. 0: any number.',
  ),
  topicLevelsMax: integer(1, 65_535, 128, 'Levels of a Topic Name or Topic Filter.'),
  topicBytesMax: integer(1, 65_535, 65_535, 'Length of a Topic Name or Topic Filter, in bytes.'),
  keepAliveSecondsMax: integer(0, 65_535, 0, 'Longest Keep Alive a client may ask for, in seconds. 0: no cap.'),
  inflightMax: integer(1, 65_535, 1024, 'QoS 1 and 2 messages sent to one connection and not acknowledged yet.'),
  receiveMaximum: integer(1, 65_535, 1024, 'QoS 1 and 2 messages a client may have unacknowledged towards the broker.'),
  topicAliasMaximum: integer(0, 65_535, 32, 'Topic Aliases a client may use on one connection (MQTT 5). 0: none.'),
  outboundBytesMax: integer(
    64 * KIB,
    1024 * MIB,
    8 * MIB,
    'Bytes waiting to be sent to one connection. At the limit QoS 0 messages for it are dropped and counted.',
  ),
  sessionQueuedMessagesMax: integer(1, 100_000_000, 100_000, 'Messages kept for one session.'),
  sessionQueuedBytesMax: integer(KIB, 1024 * 1024 * MIB, 64 * MIB, 'Bytes kept for one session.'),
  sessionFullPolicy: z
    .enum(fullPolicies)
    .default('drop-new')
    .describe(
      'What happens to a QoS 1 or 2 message for a session that is full. `drop-new`: this session does not get it. ' +
        '`drop-oldest`: it loses its oldest message that was not sent yet. `disconnect`: it does not get it, and its ' +
        'connection is closed. `refuse`: nobody gets it and the publisher is told (0x97; before MQTT 5 its connection ' +
        'is closed without an acknowledgement).',
    ),
  subscriptionsPerSessionMax: integer(1, 10_000_000, 10_000, 'Subscriptions of one session.'),
  sessionExpirySecondsMax: integer(
    1,
    4_294_967_295,
    604_800,
    'How long a persistent session outlives its connection, in seconds: the value for MQTT 3, the cap for MQTT 5. ' +
      '4294967295: never expires.',
  ),
}

type Shape = typeof connectionLimits
/** The limits of one connection, as they are in force for it. */
export type ConnectionLimits = { readonly [K in keyof Shape]: z.output<Shape[K]> }

/** Each limit may be named, and what is not named stays as `limits` has it. */
const someLimits = z.strictObject(
  Object.fromEntries(
    Object.entries(connectionLimits).map(([name, limit]) => [
      name,
      limit
        .removeDefault()
        .exactOptional()
        .describe(limit.description ?? ''),
    ]),
  ) as unknown as { [K in keyof Shape]: z.ZodExactOptional<ReturnType<Shape[K]['removeDefault']>> },
)

/** Names of the listeners: how a client is connected. `stream` is a stream given to `broker.handle`. */
export const listenerNames = ['tcp', 'tls', 'ws', 'wss', 'stream'] as const

export const limitOverrideSchema = z
  .strictObject({
    listener: z
      .enum(listenerNames)
      .exactOptional()
      .describe('Clients that are connected this way. Default: all. `stream`: given to `broker.handle` by a program.'),
    user: z
      .string()
      .min(1)
      .max(1024)
      .exactOptional()
      .describe(
        'Clients of this user; `*` stands for any characters. Where clients have to authenticate, a name counts only ' +
          'when it was checked. Default: all, with or without a name.',
      ),
    limits: someLimits.describe('Limits that differ.'),
  })
  .describe('Limits of some clients.')

export type LimitOverride = z.output<typeof limitOverrideSchema>
