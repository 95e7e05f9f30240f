import { expect, test } from 'vitest'
import { type CpuProfile, profileLine, selfTimes } from '../profile.ts'

const node = (id: number, functionName: string, url = '', lineNumber = -1) => {
  return { id, callFrame: { functionName, url, lineNumber } }
}

const profile: CpuProfile = {
  nodes: [
    node(1, '(idle)'),
    node(2, 'push', 'file:///x/dist/src/frames.js', 9),
    node(3, '(program)'),
    node(4, 'push', 'file:///x/dist/src/frames.js', 9),
    node(5, '', 'node:net', 0),
  ],
  samples: [1, 2, 3, 4, 5],
  timeDeltas: [1000, 20, 50, 20, 10],
}

test('self time is summed over call sites and taken of the busy time only', () => {
  expect(selfTimes(profile, 2)).toEqual([
    { place: '(program)', share: 0.5 },
    { place: 'push (frames.js:10)', share: 0.4 },
  ])
  expect(profileLine(profile)).toBe('50 % (program), 40 % push (frames.js:10), 10 % (anonymous) (node:net:1)')
})

test('a profile without a busy sample has no shares', () => {
  expect(selfTimes({ ...profile, samples: [1], timeDeltas: [5] }, 5)).toEqual([])
})
