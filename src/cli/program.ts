/** The command line: `sluicemq start`, `config …`, `user …`, `rule …`, `worker …`. */
import { Command, CommanderError, Option } from 'commander'
import { packageVersion } from '../base/version.ts'
import { expectation, nodeAt } from '../config/keys.ts'
import type { StoreTools } from '../store.ts'
import { checkCommand, printed } from './config.ts'
import { exitCodes } from './exit-codes.ts'
import { addLiveCommands } from './live-commands.ts'
import { type ProcessPort, type StartBroker, startCommand } from './start.ts'
import { addStoreCommands } from './store.ts'
import { iterationsByDefault, scramCommand } from './user.ts'

/** Flags of `start` and the setting each one sets. Defaults and choices come from the schema. */
const startFlags: readonly { flags: string; key: string; text: string }[] = [
  { flags: '--host <address>', key: 'host', text: 'address to listen on' },
  { flags: '--mqtt-port <port>', key: 'mqttPort', text: 'TCP port of MQTT, 0 for any free one' },
  { flags: '--http-port <port>', key: 'httpPort', text: 'port of HTTP and MQTT over WebSocket, 0 for any free one' },
  { flags: '--data-dir <folder>', key: 'dataDir', text: 'folder of the embedded store' },
  { flags: '--store <kind>', key: 'store', text: 'where messages are kept' },
  { flags: '--redis-url <url>', key: 'redisUrl', text: 'Redis server, for --store redis' },
  { flags: '--allow-anonymous', key: 'allowAnonymous', text: 'let clients from the network in without a password' },
]

/** Runs a command line (without node and script) and resolves with the exit code. */
export async function runProgram(
  args: readonly string[],
  process: ProcessPort,
  start: StartBroker,
  tools: StoreTools | null = null,
): Promise<number> {
  let code: number = exitCodes.ok.code
  const done = (result: number): void => {
    code = result
  }
  const program = createProgram(process, start, done)
  if (tools !== null) addStoreCommands(program, tools, process, done)
  try {
    await program.parseAsync(args, { from: 'user' })
    return code
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    // Commander has printed help, version or the mistake.
    return error.exitCode === 0 ? exitCodes.ok.code : exitCodes.usage.code
  }
}

function createProgram(process: ProcessPort, start: StartBroker, done: (code: number) => void): Command {
  const program = new Command('sluicemq')
    .description('An MQTT broker for edge devices whose topics become durable work for backend workers.')
    .version(packageVersion(), '--version', 'print the version')
    .helpOption('--help', 'print this help')
    .helpCommand(false)
    .exitOverride()
    .configureOutput({ writeOut: (text) => process.out(text), writeErr: (text) => process.err(text) })
    .showHelpAfterError('(sluicemq --help shows what there is)')
    .addHelpText('after', helpText())

  const startProgram = program
    .command('start')
    .description('start the broker; prints one line "ready ..." on stdout once clients may connect')
    .option('--config <file>', 'YAML file of settings (environment: SLUICEMQ_CONFIG)')
  for (const { flags, key, text } of startFlags) startProgram.addOption(startOption(flags, key, text))
  startProgram
    .addHelpText('after', '\nEvery setting, its environment name and its range: sluicemq config docs\n')
    .action(async (options: Record<string, string | boolean>) => {
      const flags = startFlags.flatMap(({ flags: spelled, key }) => {
        const text = options[key]
        return text === undefined ? [] : [{ key, flag: spelled.split(' ', 1)[0]!, text: String(text) }]
      })
      const file = (options['config'] as string | undefined) ?? (process.env['SLUICEMQ_CONFIG'] || undefined)
      done(await startCommand({ file, flags }, process, start))
    })

  const config = program.command('config').description('check or explain settings')
  config
    .command('check <file>')
    .description('say what is wrong with a file, without starting anything')
    .action((file: string) => done(checkCommand(file, process)))
  const texts = { example: 'an example file with every key', docs: 'the reference page', schema: 'a JSON Schema' }
  for (const name of ['example', 'docs', 'schema'] as const) {
    config
      .command(name)
      .description(`print ${texts[name]}`)
      .action(() => process.out(printed[name]()))
  }

  addLiveCommands(program, process, done)

  program
    .command('user')
    .description('make entries for the users of a config file')
    .command('scram <name>')
    .description('read a password from stdin, print the YAML for authentication.scram.users')
    .option(
      '--iterations <count>',
      'hashes a guess costs, and a client each time it connects',
      `${iterationsByDefault}`,
    )
    .action(async (name: string, options: { iterations: string }) => {
      done(await scramCommand(name, options.iterations, process))
    })
  return program
}

/** Values are checked with all other settings, so that every mistake is reported at once and in one form. */
function startOption(flags: string, key: string, text: string): Option {
  const node = nodeAt([key])
  const choices = node?.enum === undefined ? '' : `, ${expectation(node)}`
  const byDefault = node?.default === undefined || node.type === 'boolean' ? '' : ` (default: ${node.default})`
  return new Option(flags, `${text}${choices}${byDefault}`)
}

function helpText(): string {
  const codes = Object.values(exitCodes).map(({ code, meaning }) => `  ${String(code).padEnd(3)}  ${meaning}`)
  return `
Try it:
  sluicemq start
  mosquitto_pub -q 1 -t devices/1/telemetry -m '{"temperature": 21}'
  curl -X POST http://127.0.0.1:8080/api/v1/queues/telemetry/pull

Exit codes:
${codes.join('\n')}
`
}
