import { SluiceError } from '../errors.ts'

/** The bytes cannot be parsed as the packet they claim to be: reason code 0x81 (v5 section 4.13.1). */
export function malformed(message: string): SluiceError {
  return new SluiceError('malformed_packet', message)
}

/** The packet could be parsed but holds what the protocol does not allow: reason code 0x82 (v5 section 4.13.1). */
export function protocolError(message: string): SluiceError {
  return new SluiceError('protocol_error', message)
}
