import { expect, test } from 'vitest'
import { ClusterHealth } from '../../src/telemetry/cluster-health.ts'
import { Events } from '../../src/telemetry/events.ts'
import { HandClock } from '../support/hand-clock.ts'

test('trouble with the cluster is told when it begins, every ten seconds, and when it is over', () => {
  const events = new Events()
  const clock = new HandClock()
  const told: unknown[] = []
  events.on('clusterTroubled', ({ where, failures }) => told.push([where, failures]))
  events.on('clusterRecovered', (event) => told.push(event))
  const health = new ClusterHealth(events, clock)
  health.succeeded()
  for (let i = 0; i < 250; i++) {
    health.failed('heartbeat', new Error('away'))
    clock.advance(100)
  }
  expect(told).toEqual([
    ['heartbeat', 1],
    ['heartbeat', 100],
    ['heartbeat', 100],
  ])
  health.succeeded()
  health.succeeded()
  expect(told[3]).toEqual({ failedForMs: 25_000, failures: 49 })
  expect(told.length).toBe(4)
  health.failed('claim', new Error('away again'))
  expect(told[4]).toEqual(['claim', 1])
})
