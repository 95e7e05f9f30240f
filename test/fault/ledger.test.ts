/** The account must be able to find what it looks for. */
import { expect, test } from 'vitest'
import { Ledger, type Receiver } from './ledger.ts'

function begin(kind: Receiver['kind']) {
  const ledger = new Ledger(1)
  const receiver = ledger.addReceiver({ name: 'it', kind, wants: () => true })
  const send = (seq: number, qos: 1 | 2) => {
    const message = ledger.sent('t', seq, qos)
    ledger.acknowledged(message)
    return message
  }
  return { ledger, receiver, send }
}

test('nothing wrong, nothing said', () => {
  const { ledger, receiver, send } = begin('session')
  for (const seq of [1, 2, 3]) send(seq, 1)
  for (const seq of [1, 2, 2, 3]) ledger.arrived(receiver, 't', seq)
  expect(ledger.account()).toMatchObject({
    missing: 0,
    violations: [],
    received: { it: { arrivals: 4, duplicates: 1 } },
  })
})

test('an acknowledged message that never came is missing, with its history', () => {
  const { ledger, receiver, send } = begin('session')
  send(1, 1)
  ledger.note(send(2, 1), 'sent again')
  ledger.arrived(receiver, 't', 1)
  const { missing, violations } = ledger.account()
  expect(missing).toBe(1)
  expect(violations).toEqual([expect.stringMatching(/MISSING.*t 2, QoS 1.*sent again/s)])
})

test('a message that was never acknowledged is no loss, but it is reported as stuck', () => {
  const { ledger } = begin('session')
  ledger.sent('t', 1, 1)
  expect(ledger.account()).toMatchObject({ missing: 0, violations: [expect.stringContaining('never acknowledged')] })
})

test('a refused message is owed to nobody, and must reach nobody', () => {
  const { ledger, receiver } = begin('session')
  ledger.refused(ledger.sent('t', 1, 1), 0x97)
  expect(ledger.account()).toMatchObject({ missing: 0, refused: 1, violations: [] })
  ledger.arrived(receiver, 't', 1)
  expect(ledger.account().violations).toEqual([expect.stringContaining('that was refused')])
})

test('a QoS 2 message twice in a session, or under two identities in a queue, is a violation', () => {
  const session = begin('session')
  session.send(1, 2)
  for (const _ of [1, 2]) session.ledger.arrived(session.receiver, 't', 1)
  expect(session.ledger.account().violations).toEqual([expect.stringContaining('2 times')])
  const queue = begin('queue')
  queue.send(1, 2)
  queue.ledger.arrived(queue.receiver, 't', 1, { id: 'a', attempt: 1 })
  queue.ledger.arrived(queue.receiver, 't', 1, { id: 'a', attempt: 2 })
  for (const id of ['a', 'b']) queue.ledger.settled(id, 't', 1)
  expect(queue.ledger.account().violations).toEqual([])
  queue.ledger.arrived(queue.receiver, 't', 1, { id: 'b', attempt: 1 })
  expect(queue.ledger.account().violations).toContainEqual(expect.stringContaining('holds a QoS 2 message 2 times'))
})

test('first arrivals out of order are a violation; repetitions may come late', () => {
  const { ledger, receiver, send } = begin('session')
  for (const seq of [1, 2, 3]) send(seq, 1)
  for (const seq of [1, 3, 2, 3]) ledger.arrived(receiver, 't', seq)
  expect(ledger.account().violations).toEqual([expect.stringContaining('received 2 after 3')])
})

test('a queue may show a retransmitted twin late when the first attempt was lost on its way', () => {
  const { ledger, receiver, send } = begin('queue')
  for (const seq of [1, 2, 3]) send(seq, 1)
  const arrive = (seq: number, id: string, attempt: number) => ledger.arrived(receiver, 't', seq, { id, attempt })
  arrive(1, 'a', 1)
  arrive(3, 'c', 1)
  arrive(2, 'twin of b', 1)
  arrive(2, 'b', 2)
  for (const id of ['a', 'b', 'c', 'twin of b']) ledger.maybeSettled(id)
  expect(ledger.account().violations).toEqual([])
})

test('a delivery after a confirmed ack, and a message from nowhere, are violations', () => {
  const { ledger, receiver, send } = begin('queue')
  send(1, 1)
  ledger.arrived(receiver, 't', 1, { id: 'a', attempt: 1 })
  ledger.settled('a', 't', 1)
  ledger.arrived(receiver, 't', 1, { id: 'a', attempt: 2 })
  ledger.arrived(receiver, 't', 9)
  expect(ledger.violations).toEqual([
    expect.stringContaining('although its ack had been confirmed'),
    expect.stringContaining('never sent'),
  ])
})

test('a queue may show out of order what a cut pull held, and nothing else', () => {
  for (const mayBeLate of [true, false]) {
    const { ledger, receiver, send } = begin('queue')
    for (const seq of [1, 2]) send(seq, 1)
    ledger.arrived(receiver, 't', 2, { id: 'b', attempt: 1 })
    ledger.arrived(receiver, 't', 1, { id: 'a', attempt: 1, mayBeLate })
    for (const [i, id] of ['a', 'b'].entries()) ledger.settled(id, 't', i + 1)
    expect(ledger.account().violations).toHaveLength(mayBeLate ? 0 : 1)
  }
})

test('a will that had been withdrawn must not come, and one that is owed must', () => {
  const ledger = new Ledger(1)
  const receiver = ledger.addReceiver({ name: 'wills', kind: 'wills', wants: () => true })
  ledger.withdrawn(ledger.sent('w', 1, 2, true))
  ledger.acknowledged(ledger.sent('w', 2, 2, true))
  ledger.arrived(receiver, 'w', 1)
  expect(ledger.account()).toMatchObject({ sent: 0, wills: 1, missing: 1 })
  expect(ledger.account().violations.join()).toMatch(/received a message that was refused/)
})

test('what was handed out of a queue ends acknowledged or as a dead letter, and not as both', () => {
  const { ledger, receiver, send } = begin('queue')
  for (const seq of [1, 2, 3]) {
    send(seq, 1)
    ledger.arrived(receiver, 't', seq, { id: `e${seq}`, attempt: 1 })
  }
  ledger.settled('e1', 't', 1)
  ledger.buried('e1', 't', 1, 1)
  ledger.buried('e2', 't', 2, 1)
  expect(ledger.account()).toMatchObject({
    dead: 2,
    violations: [
      expect.stringContaining('e1 is a dead letter although its ack had been confirmed'),
      expect.stringContaining('e3 is neither acknowledged nor among the dead letters'),
    ],
  })
})
