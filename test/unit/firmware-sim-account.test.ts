import { describe, expect, it } from 'vitest'
import { Account, type Handover, type QoS } from '../../firmware-sim/account.ts'
import { LatencyHistogram } from '../../firmware-sim/latency.ts'

const telemetry = 0

function accountWith(messages: number, qos: QoS = 1): Account {
  const account = new Account()
  account.open(telemetry, 'telemetry', 'd-1', 'devices/d-1/telemetry')
  for (let sequence = 1; sequence <= messages; sequence += 1) account.sent(telemetry, sequence, qos, 1_000 + sequence)
  return account
}

function came(handedOutAt: number, batch: number, attempt = 1): Handover {
  return { handedOutAt, batch, attempt }
}

describe('the account', () => {
  it('calls missing exactly what was acknowledged and not received', () => {
    const account = accountWith(4)
    account.acknowledged(telemetry, 1, 0)
    account.acknowledged(telemetry, 2, 0)
    account.acknowledged(telemetry, 3, 0)
    account.received(telemetry, 1, 2_000, came(0, 1))
    account.received(telemetry, 4, 2_000, came(0, 1))
    const { sent, acknowledged, received, missing, unacknowledged } = account.totals.telemetry
    expect({ sent, acknowledged, received, missing, unacknowledged }).toEqual({
      sent: 4,
      acknowledged: 3,
      received: 2,
      missing: 2,
      unacknowledged: 1,
    })
    expect([...account.missing()].map(({ device, sequence, sentAt }) => ({ device, sequence, sentAt }))).toEqual([
      { device: 'd-1', sequence: 2, sentAt: 1_002 },
      { device: 'd-1', sequence: 3, sentAt: 1_003 },
    ])
  })

  it('finds nothing missing when a message is received before its acknowledgement', () => {
    const account = accountWith(1)
    account.received(telemetry, 1, 2_000, came(0, 1))
    account.acknowledged(telemetry, 1, 0)
    expect(account.totals.telemetry).toMatchObject({ received: 1, acknowledged: 1, missing: 0, unacknowledged: 0 })
  })

  it.each([1, 2] as const)('counts every delivery beyond the first as duplicated, QoS %i', (qos) => {
    const account = accountWith(2, qos)
    account.received(telemetry, 1, 2_000, came(0, 1))
    account.received(telemetry, 1, 2_000, came(1, 2, 2))
    account.acknowledged(telemetry, 1, 0)
    account.received(telemetry, 1, 2_000, came(2, 3, 3))
    expect(account.totals.telemetry).toMatchObject({ received: 1, duplicated: 2 })
  })

  it('lets QoS 0 be lost, and says how much was', () => {
    const account = accountWith(3, 0)
    account.received(telemetry, 2, 2_000, came(0, 1))
    account.received(telemetry, 2, 2_000, came(0, 1))
    expect(account.totals.telemetry).toMatchObject({ sent: 3, received: 1, duplicated: 1, missing: 0 })
    expect(account.unconfirmedLost()).toBe(2)
  })

  it('owes nothing for a message the broker refused', () => {
    const account = accountWith(1)
    account.refused(telemetry, 1, 0)
    expect(account.totals.telemetry).toMatchObject({ refused: 1, acknowledged: 0, missing: 0, unacknowledged: 0 })
  })

  it('notices a message that was never sent', () => {
    const account = accountWith(1)
    account.received(telemetry, 9, 2_000, came(0, 1))
    expect(account.totals.telemetry).toMatchObject({ unknown: 1, received: 0 })
  })

  it('acknowledges a message once however often it is told', () => {
    const account = accountWith(1)
    account.acknowledged(telemetry, 1, 0)
    account.acknowledged(telemetry, 1, 0)
    expect(account.totals.telemetry).toMatchObject({ acknowledged: 1, missing: 1, unacknowledged: 0 })
  })
})

describe('order in the account', () => {
  it('counts a message that comes behind a later one in the same batch', () => {
    const account = accountWith(3)
    for (const sequence of [1, 3, 2]) account.received(telemetry, sequence, 2_000, came(500, 1))
    expect(account.totals.telemetry.outOfOrder).toBe(1)
    expect(account.outOfOrderByDevice()).toEqual([{ device: 'd-1', messages: 1 }])
  })

  it('counts a message that was handed out after a later one', () => {
    const account = accountWith(2)
    account.received(telemetry, 2, 2_000, came(500, 1))
    account.received(telemetry, 1, 2_000, came(501, 2))
    expect(account.totals.telemetry.outOfOrder).toBe(1)
  })

  it('does not blame the broker when two workers finish in the other order', () => {
    const account = accountWith(2)
    account.received(telemetry, 2, 2_000, came(501, 2))
    account.received(telemetry, 1, 2_001, came(500, 1))
    expect(account.totals.telemetry.outOfOrder).toBe(0)
  })

  it('does not judge redeliveries and duplicates', () => {
    const account = accountWith(3)
    account.received(telemetry, 1, 2_000, came(500, 1))
    account.received(telemetry, 3, 2_000, came(501, 2))
    account.received(telemetry, 1, 2_000, came(502, 3))
    account.received(telemetry, 2, 2_000, came(503, 4, 2))
    expect(account.totals.telemetry).toMatchObject({ received: 3, duplicated: 1, outOfOrder: 0 })
  })
})

describe('latency', () => {
  it('is measured from publish to the first delivery', () => {
    const account = accountWith(1)
    account.received(telemetry, 1, 1_051, came(0, 1))
    account.received(telemetry, 1, 9_999, came(0, 2, 2))
    expect(account.latency.count).toBe(1)
    expect(account.latency.maxMs).toBe(50)
  })

  it('gives percentiles within two percent', () => {
    const latency = new LatencyHistogram()
    for (let ms = 1; ms <= 1_000; ms += 1) latency.record(ms)
    for (const p of [0.01, 0.5, 0.9, 0.99]) {
      expect(Math.abs(latency.percentileMs(p)! - p * 1_000)).toBeLessThanOrEqual(p * 1_000 * 0.02 + 1)
    }
    expect(latency.percentileMs(1)).toBe(1_000)
    expect(new LatencyHistogram().percentileMs(0.5)).toBeNull()
  })
})
