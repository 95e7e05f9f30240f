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

test('of very many each turn writes a part, in order, and those that become dirty meanwhile come first', async () => {
  const flusher = new Flusher()
  const written: (number | string)[] = []
  for (let i = 0; i < 2000; i++) flusher.add(outbound(() => written.push(i)))
  const turns: number[] = []
  for (let n = 0; n < 5; n++) {
    if (n === 1) flusher.add(outbound(() => written.push('quick')))
    await turn()
    turns.push(written.length)
  }
  expect(turns).toEqual([512, 1025, 1537, 2001, 2001])
  expect(written[512]).toBe('quick')
  expect(written.filter((one) => one !== 'quick')).toEqual(Array.from({ length: 2000 }, (_, i) => i))
})

test('after a turn with very many the next ones are written as ever', async () => {
  const flusher = new Flusher()
  let written = 0
  for (const count of [10_000, 1, 10_000, 2]) {
    written = 0
    for (let i = 0; i < count; i++) flusher.add(outbound(() => written++))
    await new Promise<void>((resolve) => flusher.whenWritten(resolve))
    expect(written).toBe(count)
  }
})

test('who waits for what is dirty is told when it has been written, whatever comes after, and not at once', async () => {
  const flusher = new Flusher()
  const story: string[] = []
  flusher.whenWritten(() => story.push('nothing was dirty'))
  expect(story).toEqual([])
  await turn()
  expect(story).toEqual(['nothing was dirty'])
  for (let i = 0; i < 1500; i++) flusher.add(outbound(() => i === 1499 && story.push('last')))
  // Who is told may have made more dirty, and waits again.
  flusher.whenWritten(() => {
    story.push('first')
    flusher.add(outbound(() => story.push('more')))
    flusher.whenWritten(() => story.push('second'))
  })
  for (let n = 0; n < 10; n++) {
    for (let i = 0; i < 600; i++) flusher.add(outbound(() => {}))
    await turn()
  }
  expect(story).toEqual(['nothing was dirty', 'last', 'first', 'more', 'second'])
})
