/** `sluicemq user scram NAME`: from a password to what the config file keeps of it. */
import { stringify } from 'yaml'
import { type Random, systemRandom } from '../base/random.ts'
import { ITERATIONS_MIN, prepare, scramKeys } from '../base/scram-keys.ts'
import { exitCodes } from './exit-codes.ts'
import type { ProcessPort } from './start.ts'

/** A guess costs whoever steals the config file this many hashes, and a device as many each time it connects. */
export const iterationsByDefault = 15_000

const SALT_BYTES = 16

/** Reads a password and prints the YAML to paste into the config file. */
export async function scramCommand(
  name: string,
  iterations: string,
  process: Pick<ProcessPort, 'out' | 'err' | 'readPassword'>,
  random: Random = systemRandom,
): Promise<number> {
  const count = Number(iterations)
  if (!Number.isInteger(count) || count < ITERATIONS_MIN || count > 10_000_000) {
    process.err(`--iterations: expected a whole number from ${ITERATIONS_MIN} to 10000000, got ${iterations}\n`)
    return exitCodes.usage.code
  }
  const userName = prepare(name)
  if (userName === null) {
    process.err('the user name is empty or holds characters that RFC 4013 forbids\n')
    return exitCodes.usage.code
  }
  const password = prepare(await process.readPassword(`password of ${userName}: `))
  if (password === null) {
    process.err('the password is empty or holds characters that RFC 4013 forbids\n')
    return exitCodes.usage.code
  }
  const keys = await scramKeys(password, Buffer.from(random.id(SALT_BYTES), 'hex'), count)
  const user = {
    salt: keys.salt.toString('base64'),
    iterations: count,
    storedKey: keys.storedKey.toString('base64'),
    serverKey: keys.serverKey.toString('base64'),
  }
  process.out(stringify({ authentication: { scram: { users: { [userName]: user } } } }))
  return exitCodes.ok.code
}
