/**
 * Mode hold: opens connections, keeps them, and looks at the broker's memory. Either as fast as the broker answers
 * them, or by a clock (`connectRate`), and then it measures how long each took.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { type ClientWatcher, IdleClient } from './client.ts'
import { Gate } from './gate.ts'
import { Histogram, percentiles } from './histogram.ts'
import type { LoadOptions } from './options.ts'
import { cpuSeconds, residentBytes } from './process-cost.ts'
import type { HoldResult } from './result.ts'
import { microseconds } from './stopwatch.ts'

export async function hold(options: LoadOptions): Promise<{ result: HoldResult; close: () => void }> {
  const { connections, brokerPids, connectRate } = options
  const gate = new Gate()
  const latency = new Histogram()
  const clients: IdleClient[] = []
  const open = (index: number, watcher: ClientWatcher): void => {
    const own = { clientId: `idle-${index}`, clean: true, receiveMaximum: 0 }
    clients.push(new IdleClient({ ...options, ...own }, watcher))
  }
  const before = residentBytes(brokerPids)
  const cpuBefore = cpuSeconds(brokerPids)
  const started = microseconds()
  if (connectRate > 0) await openByClock(gate, connections, connectRate, latency, open)
  else await gate.openAll(connections, options.connectsAtOnce, open)
  const connectSeconds = (microseconds() - started) / 1e6
  const cpuAfter = cpuSeconds(brokerPids)
  await gate.race(delay(options.seconds * 1000))
  const after = residentBytes(brokerPids)
  return {
    result: {
      mode: 'hold',
      connections,
      connectSeconds,
      connectionsPerSecond: connections / connectSeconds,
      residentBytesBefore: before,
      residentBytesAfter: after,
      bytesPerConnection: before === null || after === null ? null : (after - before) / connections,
      cpuMillisecondsPerConnection:
        cpuBefore === null || cpuAfter === null ? null : ((cpuAfter - cpuBefore) * 1000) / connections,
      latencyMicroseconds: connectRate > 0 ? percentiles(latency) : null,
    },
    close: () => {
      gate.close()
      for (const client of clients) client.close()
    },
  }
}

/** Opens connection n when it is due, however many wait for their answer: no coordinated omission. */
function openByClock(
  gate: Gate,
  count: number,
  rate: number,
  latency: Histogram,
  open: (index: number, watcher: ClientWatcher) => void,
): Promise<void> {
  const gap = 1e6 / rate
  const first = microseconds()
  const pending: (() => void)[] = []
  let opened = 0
  // The gate opens nothing by itself here: it only collects who is ready, and the first failure.
  return gate.openAll(count, count, (index, watcher) => {
    const due = first + index * gap
    const timed: ClientWatcher = {
      ready: () => {
        latency.record(microseconds() - due)
        watcher.ready()
      },
      failed: watcher.failed,
    }
    pending.push(() => open(index, timed))
    if (pending.length === count) tick()
  })

  function tick(): void {
    const due = Math.min(count, Math.floor((microseconds() - first) / gap) + 1)
    while (opened < due) pending[opened++]!()
    if (opened < count) setImmediate(tick)
  }
}
