/** The page at `/` in a real browser: the table of queues fills itself, and names are text. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type InlineBroker, startBroker } from '../support/broker-inline.ts'

const CHROMIUM = '/usr/bin/chromium'
const evil = '<img src=x onerror=alert(1)>'

let broker: InlineBroker
let dir: string

beforeAll(async () => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'sluicemq-page-'))
  broker = await startBroker({
    bridge: [
      { topicFilter: 'a', queue: 'plain' },
      { topicFilter: 'b', queue: evil },
    ],
  })
})
afterAll(async () => {
  await broker.stop()
  fs.rmSync(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })
})

async function shown(): Promise<string> {
  const flags = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--virtual-time-budget=3000']
  const args = [...flags, `--user-data-dir=${dir}`, '--dump-dom', `${broker.http}/`]
  const env = { ...process.env, HOME: dir, XDG_CONFIG_HOME: dir, XDG_CACHE_HOME: dir }
  const child = spawn(CHROMIUM, args, { stdio: ['ignore', 'pipe', 'ignore'], env, timeout: 40_000 })
  let html = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    html += text
  })
  await once(child, 'close')
  return html
}

test.skipIf(!fs.existsSync(CHROMIUM))(
  'shows W, R, D, G, C, Δt, P, P_c and what follows, of every queue',
  async () => {
    const messages = [{ payload: 'x' }, { payload: 'y' }]
    await fetch(`${broker.http}/api/v1/queues/plain/messages`, {
      method: 'POST',
      body: JSON.stringify({ messages }),
      headers: { 'content-type': 'application/json' },
    })
    const html = await shown()
    const [, head] = /<thead>(.*?)<\/thead>/s.exec(html)!
    const headings = [...head!.matchAll(/<abbr[^>]*>(.*?)<\/abbr>/g)].map((found) => found[1])
    expect(headings).toEqual([
      ...['Queue', 'waiting', 'leased', 'W', 'R', 'D', 'G', 'C', 'Δt', 'P', 'P_c', 'ρ', 'wait'],
      ...['to drain', 'to full', 'needed'],
    ])
    const [, body] = /<tbody>(.*?)<\/tbody>/s.exec(html)!
    const rows = [...body!.matchAll(/<tr>(.*?)<\/tr>/gs)].map(([, row]) =>
      [...row!.matchAll(/<td[^>]*>(.*?)<\/td>/gs)].map(([, cell]) => cell!.replace(/<\/?a[^>]*>/g, '')),
    )
    expect(rows.map(([name]) => name)).toEqual(['&lt;img src=x onerror=alert(1)&gt;', 'plain'])
    expect(rows.every((row) => row.length === headings.length)).toBe(true)
    expect(rows[1]!.slice(1, 3)).toEqual(['2', '0'])
    expect(body).not.toContain('<img')
  },
  60_000,
)
