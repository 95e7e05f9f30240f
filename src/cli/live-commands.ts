/** The commands about a running broker's rules and workers, for src/cli/program.ts. */
import { type Command, Option } from 'commander'
import { URL_BY_DEFAULT } from './api.ts'
import { addNodeCommands } from './node-commands.ts'
import { addQueueCommands } from './queue-commands.ts'
import { applyRules, deleteRule, listRules, testRules } from './rule.ts'
import type { ProcessPort } from './start.ts'
import { listWorkers, tellWorker } from './worker.ts'

type Url = { url: string }

export function addLiveCommands(program: Command, process: ProcessPort, done: (code: number) => void): void {
  const url = (): Option =>
    new Option('--url <url>', "address of the broker's HTTP port (environment: SLUICEMQ_URL)").default(
      process.env['SLUICEMQ_URL'] ?? URL_BY_DEFAULT,
    )

  const rule = program.command('rule').description('bridge rules of a running broker')
  rule
    .command('list')
    .description('the rules in force, with what they counted')
    .addOption(url())
    .action(async (options: Url) => done(await listRules(options.url, process)))
  rule
    .command('apply <file>')
    .description('put the rules of a YAML file into force: one rule, a list, or `bridge` of a config file')
    .addOption(url())
    .action(async (file: string, options: Url) => done(await applyRules(options.url, file, process)))
  rule
    .command('delete <name>')
    .description('take a rule out of force')
    .addOption(url())
    .action(async (name: string, options: Url) => done(await deleteRule(options.url, name, process)))
  rule
    .command('test <topic> [payload]')
    .description('show what rules make of a message; nothing happens')
    .addOption(url())
    .option('--config <file>', 'the rules of this config file, without a broker')
    .option('--client <id>', 'Client Identifier of the publisher', '')
    .option('--property <name=value>', 'a user property (again for more)', collect, [])
    .action(async (topic: string, payload: string | undefined, options: Url & TestOptions) => {
      const message = { topic, payload: payload ?? '', clientId: options.client, userProperties: options.property }
      done(await testRules(options.url, options.config, message, process))
    })

  addQueueCommands(program, url, process, done)
  addNodeCommands(program, url, process, done)

  const worker = program.command('worker').description('workers that send heartbeats')
  worker
    .command('list')
    .description('who they are and what they do')
    .addOption(url())
    .action(async (options: Url) => done(await listWorkers(options.url, process)))
  const texts = { run: 'go on', quiet: 'take nothing new', stop: 'finish and end' }
  for (const [command, text] of Object.entries(texts)) {
    worker
      .command(`${command} <id>`)
      .description(`tell a worker to ${text}`)
      .addOption(url())
      .action(async (id: string, options: Url) => done(await tellWorker(options.url, id, command, process)))
  }
}

interface TestOptions {
  config?: string
  client: string
  property: [string, string][]
}

function collect(text: string, before: [string, string][]): [string, string][] {
  const equals = text.indexOf('=')
  return [...before, equals < 0 ? [text, ''] : [text.slice(0, equals), text.slice(equals + 1)]]
}
