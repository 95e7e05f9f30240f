/** The modes of `npm run fault` about load: `--overload` and `--frozen-readers N`. */
import { parseArgs } from 'node:util'
import { mib, runFrozenReaders } from './frozen-readers.ts'
import { formatOverload, runOverload } from './overload.ts'

/** Null: the arguments are for another mode. Else whether all was well. */
export function loadMode(args: string[], report: (line: string) => void): Promise<boolean> | null {
  if (args.includes('--overload')) return overload(args, report)
  if (args.includes('--frozen-readers')) return frozenReaders(args, report)
  return null
}

function numbers(args: string[], defaults: Record<string, number>): Record<string, number> {
  const options = Object.fromEntries(Object.keys(defaults).map((name) => [name, { type: 'string' as const }]))
  const { values } = parseArgs({ args: args.filter((arg) => arg !== '--overload'), options })
  return Object.fromEntries(
    Object.entries(defaults).map(([name, value]) => [name, values[name] === undefined ? value : Number(values[name])]),
  )
}

async function overload(args: string[], report: (line: string) => void): Promise<boolean> {
  const { minutes, rate, bytes } = numbers(args, { minutes: 10, rate: 200, bytes: 8000 })
  const account = await runOverload({ seconds: minutes! * 60, perSecond: rate!, payloadBytes: bytes!, report })
  report(formatOverload(account))
  return account.lines.every(({ wrong }) => wrong === '')
}

async function frozenReaders(args: string[], report: (line: string) => void): Promise<boolean> {
  const defaults = { 'frozen-readers': 10_000, seconds: 60, 'memory-mib': 1024, qos: 0, bytes: 1000 }
  const asked = numbers(args, defaults)
  const memoryBytesMax = asked['memory-mib']! * 1024 * 1024
  const account = await runFrozenReaders({
    readers: asked['frozen-readers']!,
    seconds: asked['seconds']!,
    memoryBytesMax,
    payloadBytes: asked['bytes']!,
    qos: asked['qos'] === 1 ? 1 : 0,
    report,
  })
  report(JSON.stringify(account))
  report(`${mib(account.highestBytes)} MiB at most, of ${asked['memory-mib']}`)
  return account.highestBytes < memoryBytesMax && account.healthy.received === account.healthy.sent && account.open
}
