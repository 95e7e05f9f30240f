import { type OnReadOpts, Socket, type SocketConstructorOpts } from 'node:net'
import { READ_BYTES } from '../transport.ts'

/** Unsent bytes at which a socket asks for a pause. Node 20 and 22 differ in their default (16 and 64 KiB). */
export const HIGH_WATER_BYTES = 64 * 1024

/** What was read is dealt with before the next read, of whichever socket. */
const memory = Buffer.allocUnsafeSlow(READ_BYTES)

/** What Node's own server gives to the sockets it makes; not in its documentation. */
interface HandleOptions extends SocketConstructorOpts {
  readonly handle: object
  readonly highWaterMark: number
  readonly onread: OnReadOpts
}
type WithHandle = Socket & { _handle?: object | null }

/**
 * Takes the connection out of a paused socket that a server accepted, into a new socket that reads into one piece of memory
 * shared by all of them, and hands each read to `read`. By itself Node makes a new 64 KiB buffer for every read: half the cost
 * of a fast connection.
 *
 * Node takes the option `onread` for connections that are opened, not for those that are accepted; the way around (the
 * handle of the accepted socket) is not documented. Null when it is closed: then `accepted` is read as usual.
 */
export function readShared(accepted: Socket, read: (bytes: Buffer) => void): Socket | null {
  const handle = (accepted as WithHandle)._handle
  if (handle === undefined || handle === null) return null
  const callback = (bytesRead: number): boolean => {
    read(bytesRead === READ_BYTES ? memory : memory.subarray(0, bytesRead))
    return true
  }
  const options: HandleOptions = { handle, highWaterMark: HIGH_WATER_BYTES, onread: { buffer: memory, callback } }
  const socket: WithHandle = new Socket(options)
  if (socket._handle !== handle) return null
  ;(accepted as WithHandle)._handle = null
  accepted.destroy()
  return socket
}
