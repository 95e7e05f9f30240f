/** Certificates and keys of a TLS listener, checked one by one so that a failure names the setting that is wrong. */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { SluiceError } from '../errors.ts'

export interface CertificateFiles {
  readonly certFile: string
  readonly keyFile: string
  readonly caFile?: string
}

export interface Credentials {
  readonly cert: Buffer
  readonly key: Buffer
  readonly ca?: Buffer
  /** When the certificate ends, as OpenSSL writes it. */
  readonly validTo: string
}

/** @throws SluiceError config_invalid that names the setting and the file */
export function readCredentials(files: CertificateFiles): Credentials {
  const cert = read('certFile', files.certFile)
  const certificate = parseCertificate('certFile', files.certFile, cert)
  const key = read('keyFile', files.keyFile)
  if (!certificate.checkPrivateKey(parseKey(files.keyFile, key)))
    throw wrong('keyFile', files.keyFile, `is not the key of ${files.certFile}`)
  const credentials = { cert, key, validTo: certificate.validTo }
  if (files.caFile === undefined) return credentials
  const ca = read('caFile', files.caFile)
  parseCertificate('caFile', files.caFile, ca)
  return { ...credentials, ca }
}

function read(setting: string, path: string): Buffer {
  try {
    return readFileSync(path)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw wrong(setting, path, code === 'ENOENT' ? 'does not exist' : `cannot be read (${code})`, error)
  }
}

function parseCertificate(setting: string, path: string, pem: Buffer): X509Certificate {
  try {
    return new X509Certificate(pem)
  } catch (error) {
    throw wrong(setting, path, 'is no certificate in PEM', error)
  }
}

function parseKey(path: string, pem: Buffer): KeyObject {
  try {
    return createPrivateKey(pem)
  } catch (error) {
    const encrypted = (error as NodeJS.ErrnoException).code === 'ERR_MISSING_PASSPHRASE'
    throw wrong('keyFile', path, encrypted ? 'is protected by a passphrase' : 'is no private key in PEM', error)
  }
}

function wrong(setting: string, path: string, what: string, cause?: unknown): SluiceError {
  return new SluiceError('config_invalid', `tls.${setting}: ${path} ${what}`, { cause })
}
