/** The commands about a running broker's work queues, for src/cli/program.ts. */
import { type Command, InvalidArgumentError, type Option } from 'commander'
import { forecastQueue } from './forecast.ts'
import {
  cancelJob,
  listJobs,
  listMessages,
  listQueues,
  pauseQueue,
  purgeQueue,
  runJob,
  type Selected,
  showMessage,
  showQueue,
} from './queue.ts'
import { addGroup, setQueue, unsetQueue } from './queue-settings.ts'
import type { ProcessPort } from './start.ts'

type Url = { url: string }

export function addQueueCommands(
  program: Command,
  url: () => Option,
  process: ProcessPort,
  done: (code: number) => void,
): void {
  const queue = program.command('queue').description('work queues of a running broker')
  queue
    .command('list')
    .description('every queue and what waits in it')
    .addOption(url())
    .action(async (options: Url) => done(await listQueues(options.url, process)))
  queue
    .command('show <queue>')
    .description('counts and settings')
    .addOption(url())
    .action(async (name: string, options: Url) => done(await showQueue(options.url, name, process)))
  queue
    .command('forecast <queue>')
    .description('rates, capacity, and the workers it needs')
    .addOption(url())
    .option('--target-wait-ms <ms>', 'mean wait for which the workers are asked', aNumber, '1000')
    .option('--workers <count>', 'how many there are to be (default: as measured)', aNumber)
    .action(async (name: string, options: Url & { targetWaitMs: string; workers?: string }) =>
      done(await forecastQueue(options.url, name, options, process)),
    )
  queue
    .command('pause <queue>')
    .description('hand out nothing until it is resumed; what workers hold is not touched')
    .addOption(url())
    .action(async (name: string, options: Url) => done(await pauseQueue(options.url, name, true, process)))
  queue
    .command('resume <queue>')
    .description('hand out messages again')
    .addOption(url())
    .action(async (name: string, options: Url) => done(await pauseQueue(options.url, name, false, process)))
  queue
    .command('purge <queue>')
    .description('give up every message that no worker holds')
    .addOption(url())
    .action(async (name: string, options: Url) => done(await purgeQueue(options.url, name, process)))

  queue
    .command('set <queue> <setting...>')
    .description(
      'change settings of a queue, made when absent: leaseMs=5000 limits.messagesMax=1000; see docs/config.md',
    )
    .addOption(url())
    .action(async (name: string, changes: string[], options: Url) =>
      done(await setQueue(options.url, name, changes, process)),
    )
  queue
    .command('unset <queue>')
    .description('back to the settings of the config file')
    .addOption(url())
    .action(async (name: string, options: Url) => done(await unsetQueue(options.url, name, process)))
  queue
    .command('group <queue> <group>')
    .description('add a consumer group, which sees every message from now on')
    .addOption(url())
    .action(async (name: string, group: string, options: Url) =>
      done(await addGroup(options.url, name, group, process)),
    )

  const texts = {
    redrive: 'move dead letters back into their queue, or all into another',
    replay: 'hand out kept messages once more',
  } as const
  for (const kind of ['redrive', 'replay'] as const) {
    selecting(queue.command(`${kind} <queue>`).description(texts[kind]))
      .addOption(url())
      .option('--queue <name>', 'where they go')
      .option('--rate <per second>', 'no faster than this', aNumber)
      .option('--no-wait', 'print the id of the job and return; see queue job')
      .action(async (name: string, options: Url & Selected & { queue?: string; rate?: string; wait: boolean }) => {
        const { url: at, queue: to, rate, wait, ...selected } = options
        const what = { selected, wait, ...(to !== undefined && { queue: to }), ...(rate !== undefined && { rate }) }
        done(await runJob(at, name, kind, what, process))
      })
  }

  const job = queue.command('job').description('redrives and replays; they go on after a restart')
  job
    .command('list')
    .description('newest first')
    .addOption(url())
    .action(async (options: Url) => done(await listJobs(options.url, process)))
  job
    .command('cancel <id>')
    .description('what it moved stays moved')
    .addOption(url())
    .action(async (id: string, options: Url) => done(await cancelJob(options.url, id, process)))

  const dead = queue.command('dead').description('look at dead letters, or the messages of any queue')
  selecting(dead.command('list <queue>').description('messages, oldest first'))
    .addOption(url())
    .option('--limit <count>', 'at most so many, up to 1000', aNumber, '50')
    .action(async (name: string, options: Url & Selected & { limit: string }) => {
      const { url: at, limit, ...selected } = options
      done(await listMessages(at, name, { selected, limit }, process))
    })
  dead
    .command('show <queue> <id>')
    .description('one message with its payload and every failure')
    .addOption(url())
    .action(async (name: string, id: string, options: Url) => done(await showMessage(options.url, name, id, process)))
}

function selecting(command: Command): Command {
  return command
    .option('--topic <filter>', 'only messages whose topic matches')
    .option('--client <id>', 'only messages of this device')
    .option('--from <time>', 'only those taken from this time on (ISO 8601)', aTime)
    .option('--to <time>', 'only those taken before this time', aTime)
    .option('--reason <text>', 'only those whose last failure says this')
    .option('--id <id>', 'only this message (again for more)', (id: string, before: string[] = []) => [...before, id])
}

function aNumber(text: string): string {
  if (text.trim() === '' || !Number.isFinite(Number(text)) || Number(text) < 0)
    throw new InvalidArgumentError('It takes a number.')
  return text
}

function aTime(text: string): string {
  const ms = Date.parse(text)
  if (Number.isNaN(ms)) throw new InvalidArgumentError('It takes a time such as 2026-11-20T08:00:00Z.')
  return new Date(ms).toISOString()
}
