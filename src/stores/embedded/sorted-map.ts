/**
 * An ordered map of byte strings: runs of sorted keys, found by binary search. Keys are the latin1 reading of the bytes,
 * whose order by UTF-16 unit equals the order of the bytes.
 *
 *     runs:  [ a b c ] [ d e f g ] [ h i ]      each at most RUN_MAX keys; a full run splits in two
 */
const RUN_MAX = 512

interface Run {
  keys: string[]
  values: Buffer[]
}

export class SortedMap {
  #runs: Run[] = [{ keys: [], values: [] }]
  #bytes = 0

  get bytes(): number {
    return this.#bytes
  }

  get(key: string): Buffer | undefined {
    const run = this.#runs[this.#runOf(key)]!
    const i = lowerBound(run.keys, key)
    return run.keys[i] === key ? run.values[i] : undefined
  }

  set(key: string, value: Buffer): void {
    const r = this.#runOf(key)
    const run = this.#runs[r]!
    const i = lowerBound(run.keys, key)
    if (run.keys[i] === key) {
      this.#bytes += value.length - run.values[i]!.length
      run.values[i] = value
      return
    }
    this.#bytes += key.length + value.length
    run.keys.splice(i, 0, key)
    run.values.splice(i, 0, value)
    if (run.keys.length > RUN_MAX) {
      // A run that grows at its end is growing in order: leave it full rather than half empty.
      const at = i === run.keys.length - 1 ? RUN_MAX : RUN_MAX >>> 1
      this.#runs.splice(r + 1, 0, { keys: run.keys.splice(at), values: run.values.splice(at) })
    }
  }

  delete(key: string): void {
    const r = this.#runOf(key)
    const run = this.#runs[r]!
    const i = lowerBound(run.keys, key)
    if (run.keys[i] !== key) return
    this.#bytes -= key.length + run.values[i]!.length
    run.keys.splice(i, 1)
    run.values.splice(i, 1)
    if (run.keys.length === 0 && this.#runs.length > 1) this.#runs.splice(r, 1)
  }

  /** Visits [start, end) in order until `visit` returns false. */
  scan(start: string, end: string, visit: (key: string, value: Buffer) => boolean): void {
    let r = this.#runOf(start)
    let i = lowerBound(this.#runs[r]!.keys, start)
    for (; r < this.#runs.length; r++, i = 0) {
      const { keys, values } = this.#runs[r]!
      for (; i < keys.length; i++) {
        if (keys[i]! >= end || !visit(keys[i]!, values[i]!)) return
      }
    }
  }

  /** The greatest key <= `high`. */
  floorKey(high: string): string | undefined {
    let r = this.#runOf(high)
    const run = this.#runs[r]!
    const i = lowerBound(run.keys, high)
    if (run.keys[i] === high) return high
    if (i > 0) return run.keys[i - 1]
    while (--r >= 0) {
      const keys = this.#runs[r]!.keys
      if (keys.length > 0) return keys[keys.length - 1]
    }
    return undefined
  }

  /** The last run whose first key is <= `key`, or the first run. */
  #runOf(key: string): number {
    let low = 0
    let high = this.#runs.length - 1
    while (low < high) {
      const mid = (low + high + 1) >>> 1
      if (this.#runs[mid]!.keys[0]! <= key) low = mid
      else high = mid - 1
    }
    return low
  }
}

function lowerBound(keys: readonly string[], key: string): number {
  let low = 0
  let high = keys.length
  while (low < high) {
    const mid = (low + high) >>> 1
    if (keys[mid]! < key) low = mid + 1
    else high = mid
  }
  return low
}
