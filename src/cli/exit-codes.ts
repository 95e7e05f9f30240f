/**
 * What the process says by its exit code, in the words of sysexits.h. docs/exit-codes.md has the same table; a supervisor
 * restarts on 70, 74 and 75 and not on 64 and 78.
 */
import { type ErrorCode, SluiceError } from '../errors.ts'

export interface ExitCode {
  readonly code: number
  readonly meaning: string
  readonly restart: 'yes' | 'no'
}

export const exitCodes = {
  ok: { code: 0, meaning: 'Stopped as asked (SIGTERM or SIGINT), or the command did what it should.', restart: 'no' },
  usage: {
    code: 64,
    meaning: 'The command line is wrong: an unknown command or option, a missing value.',
    restart: 'no',
  },
  internal: {
    code: 70,
    meaning: 'A fault of SluiceMQ itself. The log has the stack; please report it.',
    restart: 'yes',
  },
  store: {
    code: 74,
    meaning: 'The store cannot be used: the disk fails or is full, the data is damaged, another broker has it open.',
    restart: 'yes',
  },
  temporary: {
    code: 75,
    meaning: 'Trying again may help: a port is in use, Redis does not answer, other nodes declared this one dead.',
    restart: 'yes',
  },
  config: {
    code: 78,
    meaning: 'A setting is wrong. The message names the place, the key and what was expected.',
    restart: 'no',
  },
  interrupted: { code: 130, meaning: 'A second SIGINT: exited at once, without draining.', restart: 'no' },
  terminated: { code: 143, meaning: 'A second SIGTERM: exited at once, without draining.', restart: 'no' },
} as const satisfies Record<string, ExitCode>

const byError: Partial<Record<ErrorCode, ExitCode>> = {
  address_in_use: exitCodes.temporary,
  server_unavailable: exitCodes.temporary,
  config_invalid: exitCodes.config,
}

/** The exit code for an error that ends the process. An error nobody thought of is `internal`. */
export function exitCodeOf(error: unknown): number {
  if (!(error instanceof SluiceError)) return exitCodes.internal.code
  if (error.code.startsWith('store_')) return exitCodes.store.code
  return (byError[error.code] ?? (error.kind === 'config' ? exitCodes.config : exitCodes.internal)).code
}
