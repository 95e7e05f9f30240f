#!/usr/bin/env node
/** The process: arguments, signals, exit code. */
import { collectAlone } from './base/collector.ts'
import { startSluice, storeTools } from './broker.ts'
import { exitCodes } from './cli/exit-codes.ts'
import { readPassword } from './cli/password.ts'
import { runProgram } from './cli/program.ts'
import type { ProcessPort } from './cli/start.ts'

collectAlone()

const port: ProcessPort = {
  env: process.env,
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
  readPassword: (prompt) => readPassword(process.stdin, prompt, (text) => void process.stderr.write(text)),
  onSignal(fn) {
    process.on('SIGTERM', fn)
    process.on('SIGINT', fn)
    return () => void process.off('SIGTERM', fn).off('SIGINT', fn)
  },
  onReload(fn) {
    process.on('SIGHUP', fn)
    return () => void process.off('SIGHUP', fn)
  },
  onCrash(fn) {
    process.on('uncaughtException', fn)
    return () => void process.off('uncaughtException', fn)
  },
  exit: (code) => process.exit(code),
}

// Whoever reads our output may go away before us (`sluicemq config docs | head`); that is no crash.
process.stdout.on('error', () => {})
process.stderr.on('error', () => {})

runProgram(process.argv.slice(2), port, startSluice, storeTools).then(
  // Not process.exit: what was written to a pipe must still arrive. What keeps the loop alive after that is cut off.
  (code) => {
    process.exitCode = code
    process.stdout.write('', () => process.exit(code))
  },
  (error) => {
    process.stderr.write(`sluicemq: ${error?.stack ?? error}\n`, () => process.exit(exitCodes.internal.code))
  },
)
