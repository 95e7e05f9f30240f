/**
 * A worker with the TypeScript SDK: averages the temperature of each device.
 *
 *     node examples/worker.ts [http://127.0.0.1:8080] [telemetry]        Node 22.18 or later runs TypeScript as it is
 *     node examples/worker.ts mqtt://127.0.0.1:1883 telemetry            the same over MQTT
 *
 * In a project of your own the import is `from 'sluicemq/worker'`.
 */
import { createWorker, RejectError, RetryError } from '../src/worker/index.ts'

interface Telemetry {
  celsius: number
}

const [url = 'http://127.0.0.1:8080', queue = 'telemetry'] = process.argv.slice(2)

/**
 * What was handled before: a message may come again, with the same id. A real worker writes the id beside its result, in
 * the same transaction, instead of keeping all of them in memory.
 */
const handled = new Set<string>()
const averages = new Map<string, { count: number; celsius: number }>()

const worker = createWorker<Telemetry>({
  url,
  queue,
  concurrency: 10,
  batch: 100,
  leaseMs: 30_000,
  // The first signal finishes what is in hand and gives back what was not started.
  drainOn: ['SIGINT', 'SIGTERM'],
  handler: async (message) => {
    if (handled.has(message.id)) return
    const celsius = readCelsius(message.text())
    await save(message.levels[1] ?? message.clientId, celsius, message.signal)
    handled.add(message.id)
  },
  onError: (error, message) => console.error(message === undefined ? '' : `${message.topic}:`, error.message),
})

/** What will never become right goes to the dead letters at once instead of coming ten times. */
function readCelsius(text: string): number {
  let celsius: unknown
  try {
    celsius = (JSON.parse(text) as Telemetry).celsius
  } catch {
    throw new RejectError('the payload is not JSON')
  }
  if (typeof celsius !== 'number') throw new RejectError('there is no number called celsius')
  return celsius
}

/** Stands for your database. Whatever it throws, the message comes again; RetryError says when. */
async function save(device: string, celsius: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) throw new RetryError('no time left under this lease', 1_000)
  const before = averages.get(device) ?? { count: 0, celsius: 0 }
  const count = before.count + 1
  averages.set(device, { count, celsius: before.celsius + (celsius - before.celsius) / count })
}

const report = setInterval(() => console.log(Object.fromEntries(averages)), 5_000)
void worker.stopped.then(() => {
  clearInterval(report)
  console.log(Object.fromEntries(averages))
})
