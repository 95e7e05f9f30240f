import { get32, put32 } from '../router/message.ts'

/** A live message on its way to another node. */
export interface Frame {
  /** The stored form. */
  readonly message: Buffer
  /** Key of a shared subscription; empty: for everybody who is subscribed. */
  readonly group: string
}

/**
 * One after the other: bytes of the message u32, bytes of the group's key u16, the key, the message.
 */
export function encodeFrames(frames: readonly Frame[]): Buffer {
  let bytes = 0
  for (const { message, group } of frames) bytes += 6 + Buffer.byteLength(group) + message.length
  const out = Buffer.allocUnsafe(bytes)
  let at = 0
  for (const { message, group } of frames) {
    put32(out, at, message.length)
    const groupBytes = group === '' ? 0 : out.write(group, at + 6)
    out.writeUInt16BE(groupBytes, at + 4)
    at += 6 + groupBytes
    message.copy(out, at)
    at += message.length
  }
  return out
}

/** Calls `visit` for each; the messages are views. */
export function decodeFrames(bytes: Buffer, visit: (message: Buffer, group: string) => void): void {
  let at = 0
  while (at + 6 <= bytes.length) {
    const groupEnd = at + 6 + bytes.readUInt16BE(at + 4)
    const end = groupEnd + get32(bytes, at)
    if (end > bytes.length) return
    visit(bytes.subarray(groupEnd, end), groupEnd === at + 6 ? '' : bytes.toString('utf8', at + 6, groupEnd))
    at = end
  }
}
