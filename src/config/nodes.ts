/** Settings of a node among others that share its store. */
import { z } from 'zod'
import { integer, MIB } from './number.ts'

export const nodesSchema = z
  .strictObject({
    timeoutMs: integer(
      500,
      600_000,
      10_000,
      'A node that was not heard of for this long is declared dead: others take over its sessions, wills and queues, in ms.',
    ),
    surrenderTimeoutMs: integer(
      100,
      600_000,
      5000,
      'How long a client that connects waits for another node to let go of its session before it is taken, in ms.',
    ),
    unsentBytesMax: integer(
      MIB,
      4096 * MIB,
      8 * MIB,
      'QoS 0 messages for one other node that it has not taken yet, in bytes; beyond, they are dropped and counted. Redis cuts off ' +
        'nodes for which more waits than its `client-output-buffer-limit pubsub` says (8 MB for a minute, 32 MB).',
    ),
    address: z
      .string()
      .regex(/^https?:\/\/.+/, 'a URL such as http://10.0.0.1:8080')
      .exactOptional()
      .describe(
        'Base URL at which other nodes reach the HTTP port of this one. Default: made from `host` and `httpPort`, or from the ' +
          'name of the machine where `host` is no single address.',
      ),
  })
  .prefault({})
  .describe('Several nodes that share a Redis (`store: redis`).')
