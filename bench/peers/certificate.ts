/** A certificate nobody trusts, for the TLS scenarios. */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'

export interface Certificate {
  readonly certFile: string
  readonly keyFile: string
}

/** Makes a self-signed P-256 certificate for 127.0.0.1 in `directory`, by the `openssl` program. */
export async function makeCertificate(directory: string): Promise<Certificate> {
  const certFile = join(directory, 'cert.pem')
  const keyFile = join(directory, 'key.pem')
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', keyFile]
  const subject = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1', '-days', '2']
  await promisify(execFile)('openssl', ['req', '-x509', ...key, '-out', certFile, ...subject])
  return { certFile, keyFile }
}
