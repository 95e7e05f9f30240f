/**
 * Aedes as it comes from npm, with its memory store, behind the face of `InlineBroker`. It exists to show that the
 * regression tests named `aedes#N` fail on the behaviour they describe.
 */
import net from 'node:net'
import { Aedes } from 'aedes'
import memoryPersistence from 'aedes-persistence'
import type { InlineBroker } from './broker-inline.ts'
import type { StoreFaults } from './faulty-store.ts'

/** The asynchronous store calls that a PUBLISH passes through. */
const onTheWay = ['subscriptionsByTopic', 'outgoingEnqueueCombi', 'storeRetained', 'delWill', 'putWill']

function withFaults(persistence: Record<string, unknown>, faults: StoreFaults): Record<string, unknown> {
  for (const name of onTheWay) {
    const call = persistence[name] as (...args: unknown[]) => Promise<unknown>
    persistence[name] = async (...args: unknown[]) => {
      await faults.passage()
      return call.apply(persistence, args)
    }
  }
  return persistence
}

export async function startStockAedes(faults: StoreFaults): Promise<InlineBroker> {
  const makePersistence = memoryPersistence as unknown as () => Record<string, unknown>
  const persistence = withFaults(makePersistence(), faults)
  let aedes = new Aedes({ persistence, id: 'stock' })
  let server: net.Server
  let port = 0
  const start = async () => {
    await aedes.listen()
    server = net.createServer((socket) => void aedes.handle(socket))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    port = (server.address() as net.AddressInfo).port
  }
  const stop = async () => {
    await new Promise<void>((resolve) => aedes.close(resolve))
    await new Promise((resolve) => server.close(resolve))
  }
  await start()
  return {
    get mqtt() {
      return { host: '127.0.0.1', port }
    },
    ws: 'ws://127.0.0.1:1/mqtt',
    http: 'http://127.0.0.1:1',
    get aedes() {
      return aedes
    },
    faults,
    async restart() {
      await stop()
      aedes = new Aedes({ persistence, id: 'stock' })
      await start()
    },
    stop,
  }
}
