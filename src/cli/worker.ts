/** `sluicemq worker list | run | quiet | stop`: the workers that send heartbeats. */
import { callApi, speaking, table } from './api.ts'
import type { ProcessPort } from './start.ts'

type Port = Pick<ProcessPort, 'out' | 'err'>

interface Listed {
  id: string
  queue?: string
  host?: string
  running?: number
  done?: number
  failed?: number
  command: string
  seen: string
}

export function listWorkers(url: string, process: Port): Promise<number> {
  return speaking(process, async () => {
    const { workers } = (await callApi(url, 'GET', '/workers')) as { workers: Listed[] }
    const rows = workers.map(({ id, queue = '', host = '', running = 0, done = 0, failed = 0, command, seen }) => {
      return [id, queue, host, `${running}`, `${done}`, `${failed}`, command, seen]
    })
    process.out(table(['ID', 'QUEUE', 'HOST', 'RUNNING', 'DONE', 'FAILED', 'TOLD TO', 'LAST SEEN'], rows))
  })
}

export function tellWorker(url: string, id: string, command: string, process: Port): Promise<number> {
  return speaking(process, async () => {
    await callApi(url, 'PUT', `/workers/${encodeURIComponent(id)}`, { command })
    process.out(`${id} is told to ${command} with its next heartbeat\n`)
  })
}
