/** The client's half of SCRAM-SHA-256 (RFC 5802, 7677), for tests: shares no line with the broker's. */
import { createHash, createHmac, pbkdf2Sync } from 'node:crypto'

const hash = (data: Buffer): Buffer => createHash('sha256').update(data).digest()
const hmac = (key: Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest()

/** What the config file keeps of a user. */
export function scramUser(password: string, salt: string, iterations = 4096) {
  const bytes = Buffer.from(salt)
  const salted = pbkdf2Sync(password, bytes, iterations, 32, 'sha256')
  return {
    salt: bytes.toString('base64'),
    iterations,
    storedKey: hash(hmac(salted, 'Client Key')).toString('base64'),
    serverKey: hmac(salted, 'Server Key').toString('base64'),
  }
}

export class ScramClient {
  readonly first: Buffer
  /** What a server that knows the password says at the end. */
  serverFinal = ''
  private readonly bare: string
  private readonly password: string
  private readonly header: string

  constructor(userName: string, password: string, nonce = 'fyko+d2lbbFgONRv9qkxdawL', header = 'n,,') {
    this.bare = `n=${userName.replaceAll('=', '=3D').replaceAll(',', '=2C')},r=${nonce}`
    this.password = password
    this.header = header
    this.first = Buffer.from(header + this.bare)
  }

  /** Answers the server's first message; `change` may falsify parts of the answer. */
  final(serverFirst: Buffer, change: { nonce?: string; binding?: string } = {}): Buffer {
    const [nonce, salt, iterations] = serverFirst.toString().split(',') as [string, string, string]
    const key = pbkdf2Sync(
      this.password,
      Buffer.from(salt.slice(2), 'base64'),
      Number(iterations.slice(2)),
      32,
      'sha256',
    )
    const binding = change.binding ?? Buffer.from(this.header).toString('base64')
    const withoutProof = `c=${binding},r=${change.nonce ?? nonce.slice(2)}`
    const message = `${this.bare},${serverFirst},${withoutProof}`
    const clientKey = hmac(key, 'Client Key')
    const signature = hmac(hash(clientKey), message)
    const proof = clientKey.map((byte, i) => byte ^ signature[i]!)
    this.serverFinal = `v=${hmac(hmac(key, 'Server Key'), message).toString('base64')}`
    return Buffer.from(`${withoutProof},p=${Buffer.from(proof).toString('base64')}`)
  }
}
