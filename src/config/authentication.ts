import { z } from 'zod'
import { integer } from './number.ts'

/** A SHA-256 hash in base64. */
const scramKey = z.string().regex(/^[A-Za-z0-9+/]{43}=$/, '32 bytes in base64')

export const authenticationSchema = z
  .strictObject({
    scram: z
      .strictObject({
        users: z
          .record(
            z.string().min(1).max(1024),
            z.strictObject({
              salt: z
                .string()
                .regex(/^(?:[A-Za-z0-9+/]{4}){2,128}(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/, 'base64')
                .describe('Salt, in base64.'),
              iterations: integer(4096, 10_000_000, 15_000, 'Iterations of the hash (RFC 7677).'),
              storedKey: scramKey.describe('What recognises the client: 32 bytes in base64.'),
              serverKey: scramKey.describe('What proves the broker to the client: 32 bytes in base64.'),
            }),
          )
          .default({})
          .describe('Users of SCRAM-SHA-256 by name, as `sluicemq user scram NAME` prints them.'),
      })
      .prefault({})
      .describe('SCRAM-SHA-256 (MQTT 5, RFC 7677): the password never travels.'),
  })
  .prefault({})
  .describe('Who may connect. Once a user is named here, clients without a name need `allowAnonymous: true`.')
