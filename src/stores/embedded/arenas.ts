/** Buffers that groups encode into, used again once their group is durable: large fresh buffers cost page faults. */
const KEPT_MAX = 3
const KEPT_BYTES_MAX = 8 * 1024 * 1024
const SIZE_MIN = 64 * 1024

export class Arenas {
  readonly #kept: Buffer[] = []

  take(bytes: number): Buffer {
    for (let i = 0; i < this.#kept.length; i++) {
      if (this.#kept[i]!.length >= bytes) return this.#kept.splice(i, 1)[0]!
    }
    let size = SIZE_MIN
    while (size < bytes) size *= 2
    return Buffer.allocUnsafeSlow(size > KEPT_BYTES_MAX ? bytes : size)
  }

  give(arena: Buffer): void {
    if (arena.length > KEPT_BYTES_MAX) return
    if (this.#kept.length >= KEPT_MAX) this.#kept.shift()
    this.#kept.push(arena)
  }
}
