import { SluiceError } from '../errors.ts'

/**
 * Aedes' words for failures, by ours. Its errors have no codes, so programs written for it tell them apart by message;
 * what is not listed here keeps our words. Our error, with more to say, is the `cause`.
 */
const words: readonly (readonly [ours: RegExp, aedes: string])[] = [
  [/^(the first packet is not|a second) CONNECT/, 'Invalid protocol'],
  [/^CONNECT: protocol "(MQTT|MQIsdp)"/, 'unacceptable protocol version'],
  [/^CONNECT: protocol /, 'Invalid protocolId'],
  [/of \d+ levels; limits\.topicLevelsMax/, 'topic has too many levels'],
  [/^the Topic Name is empty/, 'empty topic not allowed in PUBLISH'],
  [/^the Topic Name contains the wildcard #/, '# is not allowed in PUBLISH'],
  [/^the Topic Name contains the wildcard \+/, '+ is not allowed in PUBLISH'],
  [/: drain timeout$/, 'drain timeout'],
]

/** Return codes of MQTT 3 that Aedes' `authenticate` may name in an error, with the reason codes of MQTT 5. */
const reasonCodes: Readonly<Record<number, number>> = { 2: 0x85, 3: 0x88, 4: 0x86, 5: 0x87 }

const refusals: Readonly<Record<number, string>> = {
  133: 'identifier rejected',
  134: 'bad user name or password',
  136: 'Server unavailable',
}

/** The error that listeners of `clientError`, `connectionError` and the client's `error` get. */
export function aedesError(error: Error): Error {
  if (!(error instanceof SluiceError)) return error
  // A hook said no: what it said is told.
  if (error.code === 'not_authorized' && error.cause instanceof Error) return error.cause
  const said = words.find(([ours]) => ours.test(error.message))
  return said === undefined ? error : new SluiceError(error.code, said[1], { cause: error })
}

/** How `authenticate` said no; `errorCode` on the error is the return code the client gets. */
export function authenticationRefusal(given: (Error & { returnCode?: unknown }) | null | undefined): {
  message: string
  reasonCode: number
  error: Error
} {
  const returnCode = given?.returnCode
  const reasonCode = (typeof returnCode === 'number' && reasonCodes[returnCode]) || 0x87
  const error = given ?? new Error()
  if (error.message === '') error.message = refusals[reasonCode] ?? 'not authorized'
  const named = reasonCode === 0x87 ? 5 : returnCode
  return { message: error.message, reasonCode, error: Object.assign(error, { errorCode: named }) }
}
