import { z } from 'zod'
import { integer, KIB, MIB } from './number.ts'

/** `limits`: every queue, map and wait has one. */
export const limitsSchema = z
  .strictObject({
    packetBytesMax: integer(64, 268_435_460, MIB, 'Largest MQTT packet accepted, in bytes with its header.'),
    connectionsMax: integer(1, 10_000_000, 100_000, 'Network connections at one time; more are refused.'),
    listenBacklog: integer(1, 65_535, 4096, 'TCP connections the operating system keeps waiting for accept.'),
    connectTimeoutMs: integer(100, 600_000, 10_000, 'Time from accept to a complete CONNECT packet, in ms.'),
    topicLevelsMax: integer(1, 65_535, 128, 'Levels of a Topic Name or Topic Filter.'),
    topicBytesMax: integer(1, 65_535, 65_535, 'Length of a Topic Name or Topic Filter, in bytes.'),
    keepAliveSecondsMax: integer(0, 65_535, 0, 'Longest Keep Alive a client may ask for, in seconds. 0: no cap.'),
    inflightMax: integer(1, 65_535, 1024, 'QoS 1 and 2 messages sent to one connection and not acknowledged yet.'),
    receiveMaximum: integer(
      1,
      65_535,
      1024,
      'QoS 1 and 2 messages a client may have unacknowledged towards the broker.',
    ),
    topicAliasMaximum: integer(0, 65_535, 32, 'Topic Aliases a client may use on one connection (MQTT 5). 0: none.'),
    outboundBytesMax: integer(
      64 * KIB,
      1024 * MIB,
      8 * MIB,
      'Bytes waiting to be sent to one connection. At the limit QoS 0 messages for it are dropped and counted.',
    ),
    drainTimeoutMs: integer(
      100,
      3_600_000,
      60_000,
      'A connection that takes no bytes for this long while some wait is closed, in ms.',
    ),
    sessionQueuedMessagesMax: integer(1, 100_000_000, 100_000, 'Messages kept for one persistent session.'),
    sessionQueuedBytesMax: integer(KIB, 1024 * 1024 * MIB, 64 * MIB, 'Bytes kept for one persistent session.'),
    subscriptionsPerSessionMax: integer(1, 10_000_000, 10_000, 'Subscriptions of one session.'),
    sessionExpirySecondsMax: integer(
      1,
      4_294_967_295,
      604_800,
      'How long a persistent session outlives its connection, in seconds: the value for MQTT 3, the cap for MQTT 5. ' +
        '4294967295: never expires.',
    ),
    retainedMessagesMax: integer(0, 1_000_000_000, 1_000_000, 'Retained messages of the broker.'),
    inboundPausedBytes: integer(
      64 * KIB,
      4096 * MIB,
      16 * MIB,
      'Published bytes not yet on disk at which the broker stops reading from publishers.',
    ),
    shutdownMs: integer(0, 600_000, 10_000, 'Time for connections and requests to finish after SIGTERM, in ms.'),
  })
  .prefault({})
  .describe('Every queue, map and wait has a limit, and the limit has a name.')
