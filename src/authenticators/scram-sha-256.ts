/**
 * SCRAM-SHA-256 (RFC 5802, RFC 7677) as an authentication method: the password never travels, neither side can be
 * impersonated by whoever listens, and the configuration holds no password.
 *
 *     client                                                       server
 *     CONNECT  n,,n=user,r=CNONCE            ─▶
 *                                            ◀─  AUTH     r=CNONCE SNONCE,s=SALT,i=ITERATIONS
 *     AUTH     c=biws,r=CNONCE SNONCE,p=PROOF ─▶
 *                                            ◀─  CONNACK  v=SERVER SIGNATURE
 *
 * A name that is not known goes the same way, with a salt made from the name, and fails where a wrong password fails: what
 * the broker says does not tell which names exist. Channel binding (-PLUS) is not offered.
 */
import { timingSafeEqual } from 'node:crypto'
import type { AuthenticationExchange, AuthenticationMethod, AuthenticationStep } from '../authenticator.ts'
import type { Random } from '../base/random.ts'
import { hmac, KEY_BYTES, prepare, type ScramKeys, sha256, xor } from '../base/scram-keys.ts'

export interface ScramOptions {
  /** By user name. */
  readonly users: ReadonlyMap<string, ScramKeys>
  readonly random: Random
  /** From what the salts of unknown users are made; the same for the life of the installation, and known to nobody. */
  secret(): Buffer
}

const NONCE_BYTES = 18

/** @throws Error when a user name cannot be prepared (RFC 4013) or two are the same once they are */
export function scramSha256(options: ScramOptions): AuthenticationMethod {
  const users = new Map<string, ScramKeys>()
  for (const [name, keys] of options.users) {
    const prepared = prepare(name)
    if (prepared === null || users.has(prepared)) throw new Error(`SCRAM: the user name ${JSON.stringify(name)}`)
    users.set(prepared, keys)
  }
  const settings = [...users.values()]
  const nobody = (name: string): ScramKeys => {
    const seed = hmac(options.secret(), name)
    // Length of salt and iterations as one of the real users has them, the same one for a name every time.
    const like = settings[seed.readUInt32BE(28) % Math.max(1, settings.length)]
    const salt = hmac(seed, 'salt').subarray(0, like?.salt.length ?? 16)
    return { salt, iterations: like?.iterations ?? 4096, storedKey: hmac(seed, 'key'), serverKey: seed }
  }
  return {
    name: 'SCRAM-SHA-256',
    start: () => new ScramExchange(users, nobody, options.random.id(NONCE_BYTES)),
  }
}

class ScramExchange implements AuthenticationExchange {
  readonly #users: ReadonlyMap<string, ScramKeys>
  readonly #nobody: (name: string) => ScramKeys
  readonly #serverNonce: string
  /** What the client said first; null before. */
  #first: ClientFirst | null = null
  #keys: ScramKeys | null = null
  #nonce = ''
  #serverFirst = ''

  constructor(users: ReadonlyMap<string, ScramKeys>, nobody: (name: string) => ScramKeys, serverNonce: string) {
    this.#users = users
    this.#nobody = nobody
    this.#serverNonce = serverNonce
  }

  step(data: Buffer | null): AuthenticationStep {
    // A client may begin with an empty message, and is then asked for its first one (RFC 4422, section 3).
    if (data === null) return this.#first === null ? { kind: 'continue', data: null } : refused('no data')
    return this.#first === null ? this.#takeFirst(data) : this.#takeFinal(this.#first, data)
  }

  #takeFirst(data: Buffer): AuthenticationStep {
    const first = parseClientFirst(data.toString())
    if (typeof first === 'string') return refused(first)
    this.#first = first
    // Made for everybody, so that a known name takes no less time.
    const nobody = this.#nobody(first.userName)
    this.#keys = this.#users.get(first.userName) ?? nobody
    this.#nonce = first.nonce + this.#serverNonce
    this.#serverFirst = `r=${this.#nonce},s=${this.#keys.salt.toString('base64')},i=${this.#keys.iterations}`
    return { kind: 'continue', data: Buffer.from(this.#serverFirst) }
  }

  #takeFinal(first: ClientFirst, data: Buffer): AuthenticationStep {
    const final = clientFinal.exec(data.toString())
    if (final === null) return refused('the final message is malformed')
    const [, withoutProof, binding, nonce, proofText] = final as unknown as string[]
    if (binding !== Buffer.from(first.header).toString('base64')) return refused('the channel binding was changed')
    if (nonce !== this.#nonce) return refused('the nonce was changed')
    const proof = Buffer.from(proofText!, 'base64')
    if (proof.length !== KEY_BYTES) return refused('the proof is malformed')
    const keys = this.#keys!
    const message = `${first.bare},${this.#serverFirst},${withoutProof}`
    const clientKey = xor(proof, hmac(keys.storedKey, message))
    const right = timingSafeEqual(sha256(clientKey), keys.storedKey)
    const signature = hmac(keys.serverKey, message)
    if (!right || !this.#users.has(first.userName)) return refused('unknown user or wrong password')
    return { kind: 'success', userName: first.userName, data: Buffer.from(`v=${signature.toString('base64')}`) }
  }
}

interface ClientFirst {
  /** The GS2 header, e.g. `n,,`. */
  readonly header: string
  /** What follows it. */
  readonly bare: string
  readonly userName: string
  readonly nonce: string
}

// RFC 5802, section 7. Extensions at the end are allowed and ignored; the mandatory extension `m=` comes first and is not.
const clientFirst =
  /^((p=[A-Za-z0-9.-]+|n|y),(?:a=([^,]*))?,)(n=([^,]*),r=([\x21-\x2b\x2d-\x7e]+)(?:,[A-Za-z]=[^,]+)*)$/
const clientFinal = /^(c=([A-Za-z0-9+/=]+),r=([\x21-\x2b\x2d-\x7e]+)(?:,[A-Za-z]=[^,]+)*),p=([A-Za-z0-9+/=]+)$/

/** The message's parts, or why it is refused. */
function parseClientFirst(text: string): ClientFirst | string {
  const found = clientFirst.exec(text)
  if (found === null) return 'the first message is malformed'
  const [, header, flag, authorizationId, bare, saslName, nonce] = found as unknown as string[]
  if (flag!.startsWith('p=')) return 'channel binding is not supported'
  const userName = unescapeName(saslName!)
  if (userName === null) return 'the user name is malformed'
  // A client may say as whom it wants to act; here everybody acts as himself.
  if (authorizationId !== undefined && authorizationId !== '' && unescapeName(authorizationId) !== userName)
    return 'acting as another user is not supported'
  return { header: header!, bare: bare!, userName, nonce: nonce! }
}

/** saslname: `,` is written `=2C` and `=` is written `=3D`; any other `=` is malformed. */
function unescapeName(text: string): string | null {
  if (/=(?!2C|3D)/.test(text)) return null
  return prepare(text.replaceAll('=2C', ',').replaceAll('=3D', '='))
}

function refused(reason: string): AuthenticationStep {
  return { kind: 'refused', reason }
}
