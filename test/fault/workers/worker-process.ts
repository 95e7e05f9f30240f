/**
 * A worker of the SDK that is killed at any moment: `worker-process.js URL QUEUE`. Each message it has worked is a line
 * on stdout, `id payload`, written before it is acknowledged.
 */
import fs from 'node:fs'
import { createWorker, RejectError } from '../../../src/worker/index.ts'

const [url = '', queue = ''] = process.argv.slice(2)

createWorker({
  url,
  queue,
  concurrency: 20,
  batch: 50,
  leaseMs: 500,
  handler: async (message) => {
    if (Math.random() < 0.3) await new Promise((resolve) => setTimeout(resolve, Math.random() * 20))
    // Every fiftieth message cannot be worked.
    if (message.text().endsWith('50')) throw new RejectError('fifty')
    fs.writeSync(1, `${message.id} ${message.text()}\n`)
  },
  onError: () => {},
})
fs.writeSync(1, 'ready\n')
