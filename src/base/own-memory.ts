/**
 * A copy of the bytes in memory of its own, for what is kept. Node cuts small buffers from slabs of 8 KiB, and a slab lives
 * as long as the last of them: a topic of 20 bytes that is kept would keep 8 KiB.
 */
export function ownMemory(bytes: Buffer): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length)
  bytes.copy(copy)
  return copy
}
