/** Self-signed certificates made at test time by OpenSSL's command line tool. */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'

const found = spawnSync('openssl', ['version']).status === 0
// A test that is left out where it should run would prove nothing.
if (!found && process.env['CI']) throw new Error('openssl is missing: apt install openssl')

/** False: there is no `openssl` here, and tests about TLS are left out. */
export const canMakeCertificates: boolean = found

export interface CertificateFiles {
  certFile: string
  keyFile: string
}

/** A folder of certificates; `remove` when done. */
export class Certificates {
  readonly dir: string = fs.mkdtempSync(path.join(os.tmpdir(), 'sluicemq-tls-'))

  file(name: string): string {
    return path.join(this.dir, name)
  }

  /** A certificate for localhost that signs itself, so that it is its own `ca` too. */
  make(name: string): CertificateFiles {
    const files = { certFile: this.file(`${name}.crt`), keyFile: this.file(`${name}.key`) }
    const subject = ['-subj', `/CN=${name}`, '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1']
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', files.keyFile]
    const made = spawnSync('openssl', ['req', '-x509', '-days', '2', ...subject, ...key, '-out', files.certFile])
    if (made.status !== 0) throw new Error(String(made.stderr))
    return files
  }

  remove(): void {
    fs.rmSync(this.dir, { recursive: true, force: true })
  }
}
