import { z } from 'zod'
import { connectionLimits } from './connection-limits.ts'
import { integer, KIB, MIB } from './number.ts'

/** `limits`: every queue, map and wait has one. docs/limits.md says what happens when each is reached. */
export const limitsSchema = z
  .strictObject({
    connectionsMax: integer(
      1,
      10_000_000,
      100_000,
      'Network connections at one time, those that have not said CONNECT included; more are refused.',
    ),
    ...connectionLimits,
    listenBacklog: integer(1, 65_535, 4096, 'TCP connections the operating system keeps waiting for accept.'),
    connectTimeoutMs: integer(100, 600_000, 10_000, 'Time from accept to a complete CONNECT packet, in ms.'),
    drainTimeoutMs: integer(
      100,
      3_600_000,
      60_000,
      'A connection that takes no bytes for this long while some wait is closed, in ms.',
    ),
    memoryBytesMax: integer(
      0,
      1024 * 1024 * MIB,
      0,
      'Memory of the process, in bytes. Half of it may be taken by what waits for clients; docs/limits.md says what gives way ' +
        'when it is short. 0: half of what the machine or its control group has.',
    ),
    retainedMessagesMax: integer(0, 1_000_000_000, 1_000_000, 'Retained messages of the broker.'),
    retainedBytesMax: integer(0, 1024 * 1024 * MIB, 1024 * MIB, 'Bytes of the retained messages of the broker.'),
    storeBytesMax: integer(
      0,
      1024 * 1024 * 1024 * MIB,
      0,
      'Bytes of the store in use at which publishes that would be kept are refused (0x97), while acknowledgements go on and ' +
        'make room. 0: as much as the disk has.',
    ),
    diskFreeBytesLow: integer(
      0,
      1024 * 1024 * 1024 * MIB,
      256 * MIB,
      'Free bytes of the disk under `dataDir` below which the event `storeRoom` warns. 0: never.',
    ),
    diskFreeBytesMin: integer(
      0,
      1024 * 1024 * 1024 * MIB,
      32 * MIB,
      'Free bytes of the disk under `dataDir` below which publishes that would be kept are refused (0x97). 0: the disk is ' +
        'used up.',
    ),
    inboundPausedBytes: integer(
      64 * KIB,
      4096 * MIB,
      16 * MIB,
      'Published bytes not yet on disk at which the broker stops reading from publishers.',
    ),
    shutdownMs: integer(0, 600_000, 10_000, 'Time for connections and requests to finish after SIGTERM, in ms.'),
  })
  .prefault({})
  .describe('Every queue, map and wait has a limit, and the limit has a name: docs/limits.md.')
