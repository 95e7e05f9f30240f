/**
 * A store that fails or lags on command. It stands between the broker and a real adapter; a commit that fails leaves
 * nothing of its group behind only as far as the adapter can be told so, therefore failing tests retransmit and count
 * repetitions as allowed.
 */
import { SluiceError } from '../../src/errors.ts'
import type { Store } from '../../src/store.ts'

export class StoreFaults {
  /** Every commit is refused. */
  failing = false
  /** Every commit takes at least this long. */
  delayMs = 0
  /** Commits held until `release`. */
  private held: Promise<void> = Promise.resolve()
  private letGo: () => void = () => {}
  /** Commits asked for since the start. */
  commits = 0

  heal(): void {
    this.failing = false
    this.delayMs = 0
    this.release()
  }
  /** No commit gets through until `release`. */
  hold(): void {
    this.held = new Promise((resolve) => {
      this.letGo = resolve
    })
  }
  release(): void {
    this.letGo()
    this.held = Promise.resolve()
  }

  /** What a call has to go through. */
  async passage(): Promise<void> {
    this.commits++
    const { delayMs, held } = this
    if (delayMs > 0) await new Promise((resolve) => setTimeout(resolve, delayMs))
    await held
    if (this.failing) throw new SluiceError('store_unavailable', 'the test broke the store')
  }

  wrap(store: Store): Store {
    const commit = async () => {
      await this.passage()
      return store.commit()
    }
    return new Proxy(store, {
      get: (target, name) => {
        if (name === 'commit') return commit
        const value = Reflect.get(target, name, target) as unknown
        return typeof value === 'function' ? value.bind(target) : value
      },
    })
  }
}
