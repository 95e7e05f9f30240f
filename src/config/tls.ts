/** Settings of MQTT over TLS. */
import { z } from 'zod'

const pemFile = z.string().min(1).max(4096)

export const tlsSchema = z
  .strictObject({
    port: z.int().min(0).max(65_535).default(8883).describe('Port of MQTT over TLS. 0: any free port.'),
    certFile: pemFile.describe(
      'Certificate of the broker and what leads to its root, in PEM. Read again when it changes.',
    ),
    keyFile: pemFile.describe(
      'Private key of the certificate, in PEM, without a passphrase. Read again when it changes.',
    ),
    caFile: pemFile
      .exactOptional()
      .describe('Certificates that sign those of clients, in PEM. Needed by `requestCertificate`.'),
    requestCertificate: z
      .boolean()
      .default(false)
      .describe('Lets only those clients in whose certificate is signed by one of `caFile`.'),
    minVersion: z.enum(['TLSv1.2', 'TLSv1.3']).default('TLSv1.2').describe('Oldest version of TLS that is spoken.'),
  })
  .exactOptional()
  .describe('MQTT over TLS, beside the plain port. Only when it is given.')

export type TlsSettings = NonNullable<z.output<typeof tlsSchema>>
