/** What the simulator makes of a broker whose queues have no keeper yet. */
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { QueueApi } from '../../firmware-sim/queue-api.ts'

let server: http.Server
afterEach(() => new Promise((resolve) => server.close(resolve)))

/** Answers with each of the statuses in turn, then with the last; `asked` counts. */
async function answering(...statuses: number[]): Promise<{ api: QueueApi; asked: () => number }> {
  let asked = 0
  server = http.createServer((_request, response) => {
    const status = statuses[Math.min(asked++, statuses.length - 1)]!
    const error = { code: 'some_code', message: 'Some message', action: 'Some action' }
    response.writeHead(status, { connection: 'close' })
    response.end(JSON.stringify(status === 200 ? { name: 'q', ready: 3, leased: 0, delayed: 0 } : { error }))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return { api: new QueueApi(`http://127.0.0.1:${port}`, 'q'), asked: () => asked }
}

describe('a broker that is just starting', () => {
  it('is asked again while it answers 503', async () => {
    const { api, asked } = await answering(503, 503, 200)
    expect(await api.infoInTime(10_000)).toMatchObject({ ready: 3 })
    expect(asked()).toBe(3)
  })

  it('is given up when patience ends', async () => {
    const { api, asked } = await answering(503)
    await expect(api.infoInTime(150)).rejects.toMatchObject({ status: 503 })
    expect(asked()).toBeGreaterThan(1)
  })

  it('is believed at once when it says that there is no such queue', async () => {
    const { api, asked } = await answering(404)
    await expect(api.infoInTime(10_000)).rejects.toMatchObject({ status: 404 })
    expect(asked()).toBe(1)
  })
})
