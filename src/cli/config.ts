/** `sluicemq config …`: check a file, print the example, the reference page, the JSON Schema. */
import { exampleConfig } from '../config/example.ts'
import { configJsonSchema } from '../config/keys.ts'
import { loadConfig } from '../config/load.ts'
import { configReference } from '../config/reference.ts'
import { exitCodeOf, exitCodes } from './exit-codes.ts'
import type { ProcessPort } from './start.ts'

/** Says whether the broker would start with this file, not looking at the environment. */
export function checkCommand(file: string, process: Pick<ProcessPort, 'out' | 'err'>): number {
  try {
    const { bridge, queues } = loadConfig({ file })
    const count = (n: number, what: string): string => `${n} ${what}${n === 1 ? '' : 's'}`
    process.out(
      `${file} is valid: ${count(bridge.length, 'bridge rule')}, ${count(Object.keys(queues).length, 'queue')} configured\n`,
    )
    return exitCodes.ok.code
  } catch (error) {
    process.err(`${(error as Error).message}\n`)
    return exitCodeOf(error)
  }
}

/** What `config example`, `config docs` and `config schema` print. */
export const printed: Readonly<Record<'example' | 'docs' | 'schema', () => string>> = {
  example: exampleConfig,
  docs: configReference,
  schema: () => `${JSON.stringify(configJsonSchema(), null, 2)}\n`,
}
