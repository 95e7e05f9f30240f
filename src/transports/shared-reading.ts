import { Socket, type SocketConstructorOpts } from 'node:net'
import { READ_BYTES } from '../transport.ts'

/** Unsent bytes at which a socket asks for a pause. Node 20 and 22 differ in their default (16 and 64 KiB). */
export const HIGH_WATER_BYTES = 64 * 1024

/** What was read is dealt with before the next read, of whichever socket. */
const memory = Buffer.allocUnsafeSlow(READ_BYTES)

type OnRead = (bytesRead: number) => boolean
/** Where a socket keeps the two parts of its option `onread`. */
interface Places {
  readonly buffer: symbol
  readonly callback: symbol
}
/** Who gets what was read. */
interface Reader {
  sourceRead(bytes: Buffer): void
}
type Inside = Socket & Record<symbol, unknown> & { readonly _handle?: { useUserBuffer?(memory: Buffer): void } | null }

const places = findPlaces()

/** By looking for what was put in. Null: this version of Node keeps it elsewhere. */
function findPlaces(): Places | null {
  const callback: OnRead = () => true
  const options = { onread: { buffer: memory, callback } } as SocketConstructorOpts
  const socket = new Socket(options) as Inside
  const symbols = Object.getOwnPropertySymbols(socket)
  const ofBuffer = symbols.find((symbol) => socket[symbol] === memory)
  const ofCallback = symbols.find((symbol) => socket[symbol] === callback)
  return ofBuffer === undefined || ofCallback === undefined ? null : { buffer: ofBuffer, callback: ofCallback }
}

/**
 * Makes a paused socket that a server accepted read into one piece of memory shared by all of them, and hand each read to
 * `reader`. By itself Node makes a new 64 KiB buffer for every read: half the cost of a fast connection.
 *
 * Node takes the option `onread` for connections that are opened, not for those that are accepted: this sets what the option
 * would have set. False, and the socket is read as usual, when it is closed or Node keeps the option elsewhere.
 */
export function readShared(socket: Socket, reader: Reader): boolean {
  const inside = socket as Inside
  const handle = inside._handle
  if (places === null || typeof handle?.useUserBuffer !== 'function') return false
  const callback: OnRead = (bytesRead) => {
    reader.sourceRead(bytesRead === READ_BYTES ? memory : memory.subarray(0, bytesRead))
    return true
  }
  handle.useUserBuffer(memory)
  inside[places.buffer] = memory
  inside[places.callback] = callback
  return true
}
