/** The arithmetic of SCRAM with SHA-256 (RFC 5802, RFC 7677): what a password becomes, and nothing of MQTT. */
import { createHash, createHmac, pbkdf2 } from 'node:crypto'
import { promisify } from 'node:util'

/** What the server keeps of a password. Whoever reads it cannot log in with it (RFC 5802, section 9). */
export interface ScramKeys {
  readonly salt: Buffer
  readonly iterations: number
  /** Recognises the client. */
  readonly storedKey: Buffer
  /** Proves the server. */
  readonly serverKey: Buffer
}

/** Length of a SHA-256 hash, in bytes. */
export const KEY_BYTES = 32

/** RFC 7677, section 4. */
export const ITERATIONS_MIN = 4096

export function sha256(data: Buffer | string): Buffer {
  return createHash('sha256').update(data).digest()
}

export function hmac(key: Buffer, data: Buffer | string): Buffer {
  return createHmac('sha256', key).update(data).digest()
}

export function xor(a: Buffer, b: Buffer): Buffer {
  const out = Buffer.allocUnsafe(a.length)
  for (let i = 0; i < a.length; i++) out[i] = a[i]! ^ b[i]!
  return out
}

/** SaltedPassword: the slow part, which only clients and whoever sets a password do. @param password as `prepare` leaves it */
export function saltPassword(password: string, salt: Buffer, iterations: number): Promise<Buffer> {
  return promisify(pbkdf2)(password, salt, iterations, KEY_BYTES, 'sha256')
}

export function clientKeyOf(saltedPassword: Buffer): Buffer {
  return hmac(saltedPassword, 'Client Key')
}

export function serverKeyOf(saltedPassword: Buffer): Buffer {
  return hmac(saltedPassword, 'Server Key')
}

/** @param password as `prepare` leaves it */
export async function scramKeys(password: string, salt: Buffer, iterations: number): Promise<ScramKeys> {
  const salted = await saltPassword(password, salt, iterations)
  return { salt, iterations, storedKey: sha256(clientKeyOf(salted)), serverKey: serverKeyOf(salted) }
}

// RFC 3454: B.1, C.1.2, and C.2.1 to C.9 as far as they are code points of their own.
const mappedToNothing = /\u034f|[\u180b-\u180d]|[\ufe00-\ufe0f]|[\u00ad\u1806\u200b-\u200d\u2060\ufeff]/gu
const otherSpaces = /[\u00a0\u1680\u2000-\u200b\u202f\u205f\u3000]/gu
const prohibited = [
  /[\p{Cc}\p{Co}\p{Cs}\p{Noncharacter_Code_Point}]/u,
  /[\u06dd\u070f\u180e\u200e\u200f\u2028-\u202e\u2061-\u2063\u206a-\u206f\u2ff0-\u2ffb\ufff9-\ufffd]/u,
  /\u0340|\u0341|[\u{1d173}-\u{1d17a}]|\u{e0001}|[\u{e0020}-\u{e007f}]/u,
]

/**
 * SASLprep (RFC 4013): one spelling for a user name or password however it was typed. Null when it is empty or holds what
 * is not allowed. The rules about text from right to left and about code points newer than Unicode 3.2 are left out.
 */
export function prepare(text: string): string | null {
  const mapped = text.replace(otherSpaces, (space) => (space === '\u200b' ? '' : ' ')).replace(mappedToNothing, '')
  const prepared = mapped.normalize('NFKC')
  return prepared === '' || prohibited.some((some) => some.test(prepared)) ? null : prepared
}
