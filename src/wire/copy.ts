/** Up to so many bytes a loop costs less than a call into native code, and the view that such a call makes. */
const LOOP_MAX = 32

/** Copies `source[start..end)` to `target` at `at`; returns the offset after it. */
export function copyBytes(source: Buffer, start: number, end: number, target: Buffer, at: number): number {
  if (end - start > LOOP_MAX) return at + source.copy(target, at, start, end)
  let to = at
  for (let from = start; from < end; from++) target[to++] = source[from]!
  return to
}
