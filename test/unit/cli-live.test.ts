/** `sluicemq rule …` and `sluicemq worker …` against a running broker. */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { runProgram } from '../../src/cli/program.ts'
import { type InlineBroker, startBroker } from '../support/broker-inline.ts'

let broker: InlineBroker
let dir: string

beforeAll(async () => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'sluicemq-cli-'))
  broker = await startBroker({ bridge: [{ name: 'base', topicFilter: 'a/{x}', queue: 'q', key: '{level:x}' }] })
})
afterAll(async () => {
  await broker.stop()
  fs.rmSync(dir, { recursive: true })
})

async function run(...args: string[]) {
  let out = ''
  let err = ''
  const port = {
    env: { SLUICEMQ_URL: broker.http },
    out: (text: string) => {
      out += text
    },
    err: (text: string) => {
      err += text
    },
  }
  const code = await runProgram(args, port as never, (() => {}) as never)
  return { code, out, err }
}

function file(text: string): string {
  const name = path.join(dir, 'rules.yaml')
  fs.writeFileSync(name, text)
  return name
}

test('rules are listed, applied from a file, tested and deleted', async () => {
  expect((await run('rule', 'list')).out).toMatch(/^NAME .*\nbase +a\/\{x\} +q +config +0 /)
  const rules = file(
    'bridge:\n  - { topicFilter: b/+, queue: r, name: second }\n  - { topicFilter: c/+, queue: r, when: [{ payload: n, gt: 1 }] }\n',
  )
  expect(await run('rule', 'apply', rules)).toEqual({ code: 0, out: 'applied second\napplied c/+ > r\n', err: '' })
  const tried = await run('rule', 'test', 'c/1', '{"n":2}')
  expect(tried.out).toMatch(
    /^base: no match\nsecond: no match\nc\/\+ > r: keep\n {2}queue: r\n {2}envelope: \{.*"payload":"\{\\"n\\":2\}"\}\n$/,
  )
  expect((await run('rule', 'delete', 'c/+ > r')).out).toBe('deleted c/+ > r\n')
  expect((await run('rule', 'list')).out.split('\n')).toHaveLength(4)
})

test('a bad rule is refused with place and reason, and so is a broker that is not there', async () => {
  const bad = await run('rule', 'apply', file('{ topicFilter: x, queue: q, ky: "{client}" }'))
  expect([bad.code, bad.err]).toEqual([78, expect.stringContaining('ky: unknown key; did you mean key?')])
  const none = await run('rule', 'list', '--url', 'http://127.0.0.1:1')
  expect([none.code, none.err]).toEqual([75, expect.stringContaining('no broker answers at http://127.0.0.1:1')])
  expect((await run('rule', 'delete', 'none')).code).toBe(78)
  expect((await run('rule', 'apply', path.join(dir, 'none.yaml'))).err).toContain('no such file')
})

test('the rules of a file are tried without a broker', async () => {
  const config = file("bridge: [{ topicFilter: 'd/{id}', queue: q, key: '{property:k}' }]")
  const args = ['d/7', 'x', '--config', config, '--property', 'k=v=w', '--url', 'http://127.0.0.1:1']
  expect((await run('rule', 'test', ...args)).out).toMatch(
    /^d\/\{id\} > q: keep\n {2}levels: \{"id":"7"\}\n {2}queue: q\n {2}key: v=w\n {2}envelope: .*"payload":"x"/,
  )
})

test('workers are listed and told', async () => {
  await fetch(`${broker.http}/api/v1/workers/w1/heartbeat`, { method: 'POST' })
  expect((await run('worker', 'quiet', 'w1')).out).toBe('w1 is told to quiet with its next heartbeat\n')
  expect((await run('worker', 'list')).out).toMatch(/\nw1 .* quiet /)
  expect((await run('worker', 'stop', 'none')).err).toContain('worker_unknown')
})
