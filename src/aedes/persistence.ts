import { Readable } from 'node:stream'

/** Aedes' view of our store. Connections and sessions do not use it: they speak to the store itself. */
export class Persistence {
  async setup(): Promise<void> {}
  streamWill(): Readable {
    return Readable.from([])
  }
  async destroy(): Promise<void> {}
}
