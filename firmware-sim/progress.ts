import { pause } from './clock.ts'
import type { Simulation } from './simulation.ts'
import { count } from './summary.ts'

/**
 * Shows how the run is going on `stream`: one refreshed line on a terminal, a line every five seconds elsewhere.
 * Returns a function that ends it.
 */
export function showProgress(simulation: Simulation, stream: NodeJS.WriteStream): () => Promise<void> {
  const stop = new AbortController()
  const everyMs = stream.isTTY ? 250 : 5_000
  const loop = async (): Promise<void> => {
    let lastSent = 0
    let lastAt = performance.now()
    for (;;) {
      await pause(everyMs, stop.signal)
      if (stop.signal.aborted) break
      const { sent } = simulation.ledger.account.totals.telemetry
      const at = performance.now()
      const perSecond = ((sent - lastSent) * 1_000) / (at - lastAt)
      lastSent = sent
      lastAt = at
      const line = progressLine(simulation, perSecond)
      stream.write(stream.isTTY ? `\r\x1b[2K${line.slice(0, (stream.columns ?? 120) - 1)}` : `${line}\n`)
    }
    if (stream.isTTY) stream.write('\r\x1b[2K')
  }
  const done = loop()
  return () => {
    stop.abort()
    return done
  }
}

/** How the run stands, on one line. */
export function progressLine(simulation: Simulation, sentPerSecond: number): string {
  const { telemetry, command, reply } = simulation.ledger.account.totals
  const { up, devices, buffered } = simulation.fleet.counts()
  const seconds = (performance.timeOrigin + performance.now() - simulation.startedAt) / 1_000
  const parts = [
    `${seconds.toFixed(1).padStart(6)} s`,
    `${count(up)}/${count(devices)} devices up`,
    `sent ${count(telemetry.sent)} (${count(Math.round(sentPerSecond))}/s)`,
    `acknowledged ${count(telemetry.acknowledged)}`,
  ]
  if (simulation.options.workers > 0) parts.push(`received ${count(telemetry.received)}`)
  if (buffered > 0) parts.push(`waiting in devices ${count(buffered)}`)
  if (command.sent > 0) parts.push(`commands ${count(reply.received)}/${count(command.sent)}`)
  return parts.join(' · ')
}
