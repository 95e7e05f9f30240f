/** `sluicemq node list | drain | resume`: nodes that share a Redis, and emptying one before it is stopped. */
import type { Command, Option } from 'commander'
import { sleep } from '../base/clock.ts'
import { callApi, speaking, table } from './api.ts'
import type { ProcessPort } from './start.ts'

type Port = Pick<ProcessPort, 'out' | 'err'>

interface Listed {
  nodeId: string
  self: boolean
  leads: boolean
  version: string
  address?: string
  draining: boolean
}

interface Own extends Listed {
  drain: 'serving' | 'draining' | 'drained'
  clients: number
}

/** How often a drain is looked at, in ms. */
const LOOK_MS = 200

export function addNodeCommands(
  program: Command,
  url: () => Option,
  process: Port,
  done: (code: number) => void,
): void {
  const node = program.command('node').description('the nodes that share a Redis')
  node
    .command('list')
    .description('who is there, who leads, who is being drained')
    .addOption(url())
    .action(async (options: { url: string }) => done(await listNodes(options.url, process)))
  node
    .command('drain')
    .description('send the clients of this node elsewhere, a few at a time; returns when the last one is gone')
    .addOption(url())
    .option('--seconds <seconds>', 'time over which clients are closed', '10')
    .option('--to <server>', 'where they should go (MQTT 5 Server Reference), e.g. other.example.com:1883')
    .action(async (options: { url: string; seconds: string; to?: string }) => done(await drainNode(options, process)))
  node
    .command('resume')
    .description('take clients again after a drain')
    .addOption(url())
    .action(async (options: { url: string }) =>
      done(
        await speaking(process, async () => {
          await callApi(options.url, 'DELETE', '/node/drain')
          process.out('this node takes clients again\n')
        }),
      ),
    )
}

function listNodes(url: string, process: Port): Promise<number> {
  return speaking(process, async () => {
    const { nodes } = (await callApi(url, 'GET', '/nodes')) as { nodes: Listed[] }
    const rows = nodes.map(({ nodeId, self, leads, version, address = '', draining }) => [
      self ? `${nodeId} (this one)` : nodeId,
      leads ? 'leads' : '',
      draining ? 'draining' : 'serving',
      version,
      address,
    ])
    process.out(table(['NODE', '', 'STATE', 'VERSION', 'ADDRESS'], rows))
  })
}

function drainNode(
  { url, seconds, to }: { url: string; seconds: string; to?: string },
  process: Port,
): Promise<number> {
  return speaking(process, async () => {
    const body = { overMs: Math.round(Number(seconds) * 1000), ...(to !== undefined && { serverReference: to }) }
    let { drain, clients } = (await callApi(url, 'POST', '/node/drain', body)) as Own
    process.out(`draining ${clients} clients\n`)
    while (drain === 'draining') {
      await sleep(LOOK_MS)
      ;({ drain, clients } = (await callApi(url, 'GET', '/node')) as Own)
    }
    process.out(drain === 'drained' ? 'drained: it may be stopped now\n' : 'the drain was given up\n')
  })
}
