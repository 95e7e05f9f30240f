import type { Clock } from '../base/clock.ts'
import type { Random } from '../base/random.ts'

/**
 * Ids for messages whose place in a lane says too little: those that are in several lanes, or will move. Unlike any other
 * ever: 64 random bits for each start of the process and a counter. They begin with `m`, those made of a place do not.
 */
export class MessageIds {
  readonly #prefix: string
  #last: number

  constructor(clock: Clock, random: Random) {
    this.#prefix = `m${random.id(8)}-`
    this.#last = clock.now() % 2 ** 40
  }

  next(): string {
    return this.#prefix + (++this.#last).toString(36)
  }
}
