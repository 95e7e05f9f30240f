/** `sluicemq store …`: look after the data directory while no broker uses it. */
import type { Command } from 'commander'
import { errorTable, SluiceError } from '../errors.ts'
import type { StoreTools } from '../store.ts'
import { exitCodeOf, exitCodes } from './exit-codes.ts'
import type { ProcessPort } from './start.ts'

const DATA_DIR = './data'

export function addStoreCommands(
  program: Command,
  tools: StoreTools,
  process: ProcessPort,
  done: (code: number) => void,
): void {
  const store = program.command('store').description('look after the data directory; the broker must be stopped')
  const command = (
    name: string,
    text: string,
    run: (dir: string, options: Record<string, unknown>) => Promise<number>,
  ) =>
    store
      .command(name)
      .description(text)
      .option('--data-dir <folder>', 'folder of the store', process.env['SLUICEMQ_DATA_DIR'] || DATA_DIR)
      .action(async (options: Record<string, unknown>) => {
        try {
          done(await run(String(options['dataDir']), options))
        } catch (error) {
          if (!(error instanceof SluiceError)) throw error
          process.err(`sluicemq: ${error.message}\n${errorTable[error.code].action}\n`)
          done(exitCodeOf(error))
        }
      })

  command('info', 'print format, size and free space', async (dir) => {
    const { format, bytes, freeBytes } = await tools.info(dir)
    process.out(`format ${format}\nbytes ${bytes}\nfree inside ${freeBytes}\n`)
    return exitCodes.ok.code
  })

  command('check', 'read every record; exit code 74 when one is damaged', async (dir, options) => {
    const { counts, waiting, problems } = await tools.check(dir, options['repair'] === true)
    for (const problem of problems) process.out(`damaged: ${problem}\n`)
    for (const [kind, count] of Object.entries(counts)) process.out(`${kind} ${count}\n`)
    process.out(`messages that wait ${waiting}\n`)
    if (problems.length === 0) {
      process.out('nothing is damaged\n')
      return exitCodes.ok.code
    }
    if (options['repair'] === true) {
      process.out(`${problems.length} damaged records were taken out\n`)
      return exitCodes.ok.code
    }
    process.err('Restore a backup, or take out what is damaged: sluicemq store check --repair\n')
    return exitCodes.store.code
  }).option('--repair', 'take damaged records out; what they said is lost')

  command('compact', 'write the file anew without free space', async (dir) => {
    const { before, after } = await tools.compact(dir)
    process.out(`${before} bytes before, ${after} bytes after\n`)
    return exitCodes.ok.code
  })
}
