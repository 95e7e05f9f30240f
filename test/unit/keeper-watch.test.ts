/** When a node that started may say that requests about work queues are answered. */
import { expect, test } from 'vitest'
import { SluiceError } from '../../src/errors.ts'
import { KeeperWatch } from '../../src/nodes/keeper-watch.ts'
import { HandClock } from '../support/hand-clock.ts'

const PATIENCE_MS = 2000

interface Question {
  readonly nodeId: string
  readonly asked: unknown
  answer(): void
  refuse(code: 'node_gone' | 'queue_unknown'): void
}

/** A node whose standing among the others is set by hand. */
class Standing {
  readonly clock = new HandClock()
  readonly questions: Question[] = []
  leader: string | null = null
  address: string | null | undefined
  serves = false
  settled = false
  readonly watch: KeeperWatch

  constructor() {
    const standing = this
    this.watch = new KeeperWatch({
      cluster: {
        get leader() {
          return standing.leader
        },
        request: (nodeId, _kind, asked) =>
          new Promise((resolve, reject) => {
            const refuse = (code: 'node_gone' | 'queue_unknown'): void => reject(new SluiceError(code, 'no'))
            this.questions.push({ nodeId, asked, answer: () => resolve(true), refuse })
          }),
      },
      clock: this.clock,
      leaderAddress: () => this.address,
      serves: () => this.serves,
      patienceMs: PATIENCE_MS,
    })
    void this.watch.settled.then(() => {
      this.settled = true
    })
    this.watch.start()
  }

  async pass(ms: number): Promise<void> {
    this.clock.advance(ms)
    await turn()
  }

  /** What a supervisor and those who wait for the start hear. */
  get told(): string {
    if (this.watch.looking) return this.settled ? 'settled too early' : 'waits'
    if (!this.settled) return 'waits for nothing'
    return this.watch.trouble === null ? 'ready' : 'degraded'
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('a node that leads is ready when it has read its queues', async () => {
  const node = new Standing()
  node.address = null
  await node.pass(500)
  expect(node.told).toBe('waits')
  expect(node.watch.address).toBeUndefined()
  node.serves = true
  await node.pass(100)
  expect(node.told).toBe('ready')
  expect(node.watch.address).toBeNull()
})

test('a node is ready when the one that leads says that it keeps the queues, and not before', async () => {
  const node = new Standing()
  await node.pass(300)
  expect(node.questions).toEqual([])
  node.leader = 'other'
  await node.pass(100)
  expect(node.questions, 'it has not said where it is').toEqual([])
  node.address = 'http://other'
  await node.pass(300)
  expect(node.questions.map(({ nodeId }) => nodeId)).toEqual(['other'])
  expect(node.told).toBe('waits')
  // It leads since a moment, and reads its queues.
  node.questions[0]!.refuse('node_gone')
  await turn()
  await node.pass(100)
  expect(node.questions).toHaveLength(2)
  expect(node.told).toBe('waits')
  node.questions[1]!.answer()
  await turn()
  expect(node.told).toBe('ready')
  expect(node.watch.address).toBe('http://other')
})

test('a node of an older version, which does not know the question, answers by not knowing it', async () => {
  const node = new Standing()
  node.leader = 'older'
  node.address = 'http://older'
  await node.pass(100)
  node.questions[0]!.refuse('queue_unknown')
  await turn()
  expect(node.told).toBe('ready')
})

test('a dead leader, which answers nothing, is waited for until another leads', async () => {
  const node = new Standing()
  node.leader = 'dead'
  node.address = 'http://dead'
  await node.pass(1000)
  node.leader = null
  node.address = undefined
  await node.pass(200)
  expect(node.told).toBe('waits')
  node.leader = 'next'
  node.address = 'http://next'
  await node.pass(100)
  expect(node.questions.map(({ nodeId }) => nodeId)).toEqual(['dead', 'next'])
  // What comes late from the one before says nothing.
  node.questions[0]!.answer()
  await turn()
  expect(node.told).toBe('waits')
  node.questions[1]!.answer()
  await turn()
  expect(node.told).toBe('ready')
})

test('when the time is over it is ready without queues, says so, and goes on looking', async () => {
  const node = new Standing()
  await node.pass(PATIENCE_MS - 100)
  expect(node.told).toBe('waits')
  await node.pass(100)
  expect(node.told).toBe('degraded')
  expect(node.watch.trouble).toContain('no node')
  node.leader = 'other'
  node.address = 'http://other'
  await node.pass(1000)
  node.questions[0]!.answer()
  await turn()
  expect(node.told).toBe('ready')
})

test('when the node that keeps the queues is gone the others are degraded, and ready again when another does', async () => {
  const node = new Standing()
  node.address = null
  node.serves = true
  await node.pass(100)
  node.address = undefined
  expect(node.told).toBe('degraded')
  node.address = 'http://next'
  expect(node.told).toBe('ready')
})

test('a node that is stopped waits for nobody', async () => {
  const node = new Standing()
  node.watch.stop()
  await turn()
  expect(node.settled).toBe(true)
  node.leader = 'other'
  node.address = 'http://other'
  await node.pass(PATIENCE_MS)
  expect(node.questions).toEqual([])
})
