import { describe, expect, test } from 'vitest'
import { scramSha256 } from '../../src/authenticators/scram-sha-256.ts'
import { prepare, type ScramKeys, scramKeys } from '../../src/base/scram-keys.ts'
import { ScramClient, scramUser } from '../support/scram-client.ts'

const random = (nonce: string) => ({ next: () => 0, below: () => 0, id: () => nonce })
const anybody = { clientId: 'c', userName: undefined, password: undefined, protocol: 'tcp', address: '' } as const
const text = (data: Buffer | null) => data?.toString()

function keysOf(password: string, salt: string, iterations = 4096): ScramKeys {
  const user = scramUser(password, salt, iterations)
  const bytes = (base64: string) => Buffer.from(base64, 'base64')
  return { salt: bytes(user.salt), iterations, storedKey: bytes(user.storedKey), serverKey: bytes(user.serverKey) }
}

function method(users: Record<string, ScramKeys>, nonce = 'SERVER', secret = 'secret') {
  const made = scramSha256({
    users: new Map(Object.entries(users)),
    random: random(nonce),
    secret: () => Buffer.from(secret),
  })
  const start = () => {
    const exchange = made.start(anybody)
    return (data: string | Buffer | null) => {
      const step = exchange.step(typeof data === 'string' ? Buffer.from(data) : data)
      if ('then' in step) throw new Error('SCRAM decides at once')
      return step
    }
  }
  return { start }
}

describe('RFC 7677, section 3', () => {
  const salt = Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64')
  const nonces = 'rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0'

  test('the exchange of the example, byte by byte', async () => {
    const keys = await scramKeys('pencil', salt, 4096)
    const step = method({ user: keys }, '%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0').start()
    const first = step('n,,n=user,r=rOprNGfwEbeRWgbNEkqO')
    expect(first.kind === 'continue' && text(first.data)).toBe(`r=${nonces},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096`)
    const final = step(`c=biws,r=${nonces},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=`)
    expect(final).toMatchObject({ kind: 'success', userName: 'user' })
    expect(final.kind === 'success' && text(final.data)).toBe('v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=')
  })

  test('one bit of the proof changed is refused', async () => {
    const step = method({ user: await scramKeys('pencil', salt, 4096) }, '%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0').start()
    step('n,,n=user,r=rOprNGfwEbeRWgbNEkqO')
    const proof = Buffer.from('dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=', 'base64')
    proof[31]! ^= 1
    expect(step(`c=biws,r=${nonces},p=${proof.toString('base64')}`).kind).toBe('refused')
  })
})

describe('exchanges', () => {
  const users = { alice: keysOf('pencil', 'salt-of-alice'), 'a,b=c': keysOf('x', 'salt-of-comma') }
  const run = (client: ScramClient, change = {}, own = method(users)) => {
    const step = own.start()
    const first = step(client.first)
    if (first.kind !== 'continue') return first
    return step(client.final(first.data!, change))
  }

  test('a name with a comma and an equals sign is escaped on the way', () => {
    expect(run(new ScramClient('a,b=c', 'x'))).toMatchObject({ kind: 'success', userName: 'a,b=c' })
  })

  test('a wrong password, an unknown user, a changed nonce and a changed channel binding are refused', () => {
    expect(run(new ScramClient('alice', 'pencil')).kind).toBe('success')
    expect(run(new ScramClient('alice', 'Pencil')).kind).toBe('refused')
    expect(run(new ScramClient('bob', 'pencil')).kind).toBe('refused')
    expect(run(new ScramClient('alice', 'pencil'), { nonce: 'fyko+d2lbbFgONRv9qkxdawLSERVES' }).kind).toBe('refused')
    expect(run(new ScramClient('alice', 'pencil'), { binding: 'eSws' }).kind).toBe('refused')
  })

  test('a client that supports channel binding, and one that names itself as whom it acts, are let in', () => {
    expect(run(new ScramClient('alice', 'pencil', 'nonce', 'y,,')).kind).toBe('success')
    expect(run(new ScramClient('alice', 'pencil', 'nonce', 'n,a=alice,')).kind).toBe('success')
    expect(run(new ScramClient('alice', 'pencil', 'nonce', 'n,a=bob,')).kind).toBe('refused')
    expect(run(new ScramClient('alice', 'pencil', 'nonce', 'p=tls-unique,,')).kind).toBe('refused')
  })

  test('a client may begin with nothing, and then has to say something', () => {
    const step = method(users).start()
    expect(step(null)).toEqual({ kind: 'continue', data: null })
    expect(step('n,,n=alice,r=abc').kind).toBe('continue')
    expect(step(null).kind).toBe('refused')
  })

  test.each([
    ['nothing', ''],
    ['no header', 'n=alice,r=abc'],
    ['a mandatory extension', 'n,,m=x,n=alice,r=abc'],
    ['no nonce', 'n,,n=alice,r='],
    ['a nonce with a space', 'n,,n=alice,r=a b'],
    ['no name', 'n,,n=,r=abc'],
    ['a wrong escape', 'n,,n=al=2cice,r=abc'],
    ['a control character in the name', 'n,,n=al\u0007ice,r=abc'],
    ['bytes that are no text', Buffer.from([0x6e, 0x2c, 0x2c, 0x6e, 0x3d, 0xff, 0x2c, 0x72, 0x3d, 0x61])],
  ])('a first message with %s is refused', (_what, message) => {
    expect(method(users).start()(message).kind).toBe('refused')
  })

  test.each(['', 'p=AAAA', 'c=biws,r=abcSERVER', 'c=biws,r=abcSERVER,p=AAAA', 'c=biws,r=abcSERVER,p=****'])(
    'a final message "%s" is refused',
    (message) => {
      const step = method(users).start()
      step('n,,n=alice,r=abc')
      expect(step(message).kind).toBe('refused')
    },
  )
})

describe('who exists is not told', () => {
  const users = { alice: keysOf('pencil', 'salt-of-alice', 5000), bob: keysOf('x', 'another-salt', 6000) }
  const challenge = (name: string, secret = 'secret') => {
    const first = method(users, 'SERVER', secret).start()(`n,,n=${name},r=abc`)
    const [nonce, salt, iterations] = (first.kind === 'continue' ? text(first.data)! : '').split(',')
    return { nonce, salt: Buffer.from(salt!.slice(2), 'base64'), iterations }
  }

  test('an unknown name gets a salt and a count as real users have them, the same ones each time', () => {
    const names = Array.from({ length: 50 }, (_, i) => `nobody-${i}`)
    const known = ['alice', 'bob'].map((name) => `${challenge(name).salt.length} ${challenge(name).iterations}`)
    for (const name of names) {
      const { salt, iterations } = challenge(name)
      expect(known).toContain(`${salt.length} ${iterations}`)
      expect(challenge(name)).toEqual(challenge(name))
    }
    expect(new Set(names.map((name) => challenge(name).salt.toString('hex'))).size).toBe(names.length)
    expect(challenge('nobody-1').salt).not.toEqual(challenge('nobody-1', 'another secret').salt)
  })
})

describe('SASLprep (RFC 4013, section 3)', () => {
  test.each([
    ['I\u00adX', 'IX'],
    ['user', 'user'],
    ['USER', 'USER'],
    ['\u00aa', 'a'],
    ['\u2168', 'IX'],
    ['a\u00a0b\u3000c', 'a b c'],
    ['\u0041\u030a', '\u00c5'],
  ])('%j becomes %j', (given, expected) => expect(prepare(given)).toBe(expected))

  test.each(['', '\u00ad', '\u0007', 'a\u0000', '\ud800', '\ue000', '\uffff', '\u202e', '\ufffd'])(
    '%j is refused',
    (given) => expect(prepare(given)).toBeNull(),
  )

  test('two users that are one after it are refused', () => {
    expect(() => method({ IX: keysOf('a', 'b'), '\u2168': keysOf('a', 'b') })).toThrow('user name')
  })
})
