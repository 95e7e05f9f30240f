/**
 * Aedes as it comes from npm, with its memory store, behind the face of `EmbeddedBroker`. It exists to show that the
 * regression tests named `aedes#N` fail on the behaviour they describe. (Items found in its Redis and Level stores
 * cannot fail here.)
 */
import { Aedes } from 'aedes'
import memoryPersistence from 'aedes-persistence'
import { Events } from '../../src/telemetry/events.ts'
import type { EmbeddedBroker } from './broker-inline.ts'
import type { StoreFaults } from './faulty-store.ts'
import { serve } from './spread.ts'

/** The asynchronous store calls that a PUBLISH or a will passes through. */
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

export async function startStockAedes(faults: StoreFaults): Promise<EmbeddedBroker> {
  const makePersistence = memoryPersistence as unknown as () => Record<string, unknown>
  const persistence = withFaults(makePersistence(), faults)
  const start = async () => {
    const aedes = new Aedes({ persistence, id: 'stock' })
    await aedes.listen()
    return { aedes, server: await serve((socket) => void aedes.handle(socket)) }
  }
  let running = await start()
  const stop = async () => {
    await new Promise<void>((resolve) => running.aedes.close(resolve))
    await running.server.close()
  }
  return {
    get mqtt() {
      return running.server.address
    },
    get aedes() {
      return running.aedes
    },
    events: new Events(),
    faults,
    async restart() {
      await stop()
      running = await start()
    },
    stop,
  }
}
