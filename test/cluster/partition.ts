/** One bad time between a node and Redis, of a random kind, with what clients do meanwhile. */
import type { SeededRandom } from '../support/seeded-random.ts'
import type { TcpProxy } from '../support/tcp-proxy.ts'

/** Of the network, as the node sees it. */
const kinds = ['cut', 'silent', 'deaf', 'mute', 'slow', 'half closed', 'reset'] as const
export type PartitionKind = (typeof kinds)[number]

export class Partition {
  readonly kind: PartitionKind
  readonly durationMs: number
  /** What becomes of what was under way, and of its connections. */
  readonly heldBack: 'late' | 'reset' | 'forgotten'
  readonly #proxy: TcpProxy
  readonly #random: SeededRandom

  /** @param deadAfterMs a node is declared dead after so long: half of the partitions are shorter, half are longer */
  constructor(proxy: TcpProxy, random: SeededRandom, deadAfterMs: number) {
    this.#proxy = proxy
    this.#random = random
    this.kind = random.pick([...kinds])
    this.heldBack = random.pick(['late', 'reset', 'forgotten'])
    const long = random.chance(0.4)
    this.durationMs = long ? random.int(deadAfterMs * 1.4, deadAfterMs * 2.2) : random.int(100, deadAfterMs * 0.8)
  }

  begin(): void {
    const proxy = this.#proxy
    const act: Record<PartitionKind, () => void> = {
      cut: () => proxy.cut(),
      silent: () => proxy.silence('both'),
      deaf: () => proxy.silence('down'),
      mute: () => proxy.silence('up'),
      slow: () => proxy.slow(this.#random.int(20, 300)),
      'half closed': () => proxy.halfClose(this.#random.pick(['up', 'down'])),
      reset: () => proxy.reset(),
    }
    act[this.kind]()
  }

  end(): void {
    this.#proxy.heal(this.heldBack)
  }

  toString(): string {
    return `${this.kind} for ${this.durationMs} ms, then ${this.heldBack}`
  }
}
