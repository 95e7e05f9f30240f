/** Mode hold: opens connections as fast as the broker answers them, keeps them, and looks at the broker's memory. */
import { setTimeout as delay } from 'node:timers/promises'
import { IdleClient } from './client.ts'
import { Gate } from './gate.ts'
import type { LoadOptions } from './options.ts'
import { cpuSeconds, residentBytes } from './process-cost.ts'
import type { HoldResult } from './result.ts'
import { microseconds } from './stopwatch.ts'

export async function hold(options: LoadOptions): Promise<{ result: HoldResult; close: () => void }> {
  const { connections, brokerPid } = options
  const gate = new Gate()
  const clients: IdleClient[] = []
  const before = residentBytes(brokerPid)
  const cpuBefore = cpuSeconds(brokerPid)
  const started = microseconds()
  await gate.openAll(connections, options.connectsAtOnce, (index, watcher) => {
    clients.push(new IdleClient({ ...options, clientId: `idle-${index}`, clean: true, receiveMaximum: 0 }, watcher))
  })
  const connectSeconds = (microseconds() - started) / 1e6
  const cpuAfter = cpuSeconds(brokerPid)
  await gate.race(delay(options.seconds * 1000))
  const after = residentBytes(brokerPid)
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
    },
    close: () => {
      gate.close()
      for (const client of clients) client.close()
    },
  }
}
