/** What the aedes package's tests get for `../aedes.js`. */
import stock from 'aedes'

const { Aedes: Ours, Events } = await import(new URL('src/index.js', process.env.SLUICEMQ_DIST).href)

export default stock

/** Ours as it is, but for faults: they fail the test that runs. */
export class Aedes extends Ours {
  constructor(options) {
    const events = new Events()
    super({ ...options, events })
    events.on('internalError', ({ where, error }) => {
      setImmediate(() => {
        throw error instanceof Error ? error : new Error(`${where}: ${error}`)
      })
    })
  }

  static async createBroker(options) {
    const broker = new Aedes(options)
    await broker.listen()
    return broker
  }
}
