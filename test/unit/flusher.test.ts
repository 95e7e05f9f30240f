/** What is dirty is written once per turn, whatever happens while it is written. */
import { expect, test } from 'vitest'
import { Flusher } from '../../src/connection/flusher.ts'
import type { Outbound } from '../../src/connection/outbound.ts'

function outbound(flush: () => void): Outbound {
  return { endTurn: flush } as Outbound
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('each is written once at the end of the turn, in the order in which they became dirty', async () => {
  const flusher = new Flusher()
  const written: number[] = []
  for (let round = 0; round < 3; round++) {
    written.length = 0
    for (let i = 0; i < 3; i++) flusher.add(outbound(() => written.push(i)))
    expect(written).toEqual([])
    await turn()
    expect(written).toEqual([0, 1, 2])
  }
})

test('what becomes dirty while others are written waits for the next turn, and is not lost', async () => {
  const flusher = new Flusher()
  const written: string[] = []
  const late = outbound(() => written.push('late'))
  flusher.add(outbound(() => flusher.add(late)))
  flusher.add(outbound(() => written.push('second')))
  await turn()
  expect(written).toEqual(['second'])
  await turn()
  expect(written).toEqual(['second', 'late'])
})

test('after a turn with very many the next ones are written as ever', async () => {
  const flusher = new Flusher()
  let written = 0
  for (const count of [10_000, 1, 10_000, 2]) {
    written = 0
    for (let i = 0; i < count; i++) flusher.add(outbound(() => written++))
    await turn()
    expect(written).toBe(count)
  }
})
