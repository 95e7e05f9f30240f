import { Socket, type SocketConstructorOpts } from 'node:net'
import { READ_BYTES } from '../transport.ts'

/** Unsent bytes at which a socket asks for a pause. Node 20 and 22 differ in their default (16 and 64 KiB). */
export const HIGH_WATER_BYTES = 64 * 1024

/** What was read is dealt with before the next read, of whichever socket. */
const memory = Buffer.allocUnsafeSlow(READ_BYTES)

/**
 * How much of it a read may take, in steps: a connection gets more when its last read took all it might. What comes with a CONNECT
 * that has to wait for a decision is kept, so a newcomer cannot make the broker keep much.
 */
const windows = [16 * 1024, 64 * 1024, READ_BYTES].map((bytes) => memory.subarray(0, bytes))

/** Who gets what was read. */
interface Reader {
  sourceRead(bytes: Buffer): void
}
type OnRead = (bytesRead: number) => boolean
type NextBuffer = () => Buffer
/** Where a socket keeps the parts of its option `onread`. */
interface Places {
  readonly buffer: symbol
  readonly nextBuffer: symbol
  readonly callback: symbol
}
type Inside = Socket & Record<symbol, unknown> & { readonly _handle?: { useUserBuffer?(memory: Buffer): void } | null }

const places = findPlaces()

/** By looking for what was put in. Null: this version of Node keeps it elsewhere. */
function findPlaces(): Places | null {
  const callback: OnRead = () => true
  const nextBuffer: NextBuffer = () => memory
  const places = {
    buffer: placeOf({ buffer: memory, callback }, memory),
    nextBuffer: placeOf({ buffer: nextBuffer, callback }, nextBuffer),
    callback: placeOf({ buffer: memory, callback }, callback),
  }
  return Object.values(places).includes(undefined) ? null : (places as Places)
}

function placeOf(onread: { buffer: Buffer | NextBuffer; callback: OnRead }, part: unknown): symbol | undefined {
  const socket = new Socket({ onread } as SocketConstructorOpts) as Inside
  return Object.getOwnPropertySymbols(socket).find((symbol) => socket[symbol] === part)
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
  let step = 0
  let taken = 0
  const callback: OnRead = (bytesRead) => {
    taken = bytesRead
    const window = windows[step]!
    reader.sourceRead(bytesRead === window.length ? window : window.subarray(0, bytesRead))
    return true
  }
  const nextBuffer: NextBuffer = () => {
    if (taken === windows[step]!.length && step < windows.length - 1) step++
    return windows[step]!
  }
  handle.useUserBuffer(windows[0]!)
  inside[places.buffer] = windows[0]!
  inside[places.nextBuffer] = nextBuffer
  inside[places.callback] = callback
  return true
}
