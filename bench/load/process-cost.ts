/** What processes cost, read from /proc (Linux). Elsewhere, for none, or once one is gone, there is no answer: null. */
import { readFileSync } from 'node:fs'

/** The kernel reports CPU time to user space in hundredths of a second on every Linux architecture. */
const TICKS_PER_SECOND = 100

/** CPU seconds (user and system, all threads) the processes have used so far. */
export function cpuSeconds(pids: readonly number[]): number | null {
  return together(pids, cpuSecondsOf)
}

function cpuSecondsOf(pid: number): number | null {
  const stat = read(`/proc/${pid}/stat`)
  if (stat === null) return null
  // The command name stands in parentheses and may contain anything; fields are counted from behind it.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const user = Number(fields[11])
  const system = Number(fields[12])
  return Number.isFinite(user + system) ? (user + system) / TICKS_PER_SECOND : null
}

/** Bytes of the processes resident in memory now, or the most each ever had (`peak`). */
export function residentBytes(pids: readonly number[], which: 'now' | 'peak' = 'now'): number | null {
  return together(pids, (pid) => residentBytesOf(pid, which))
}

function residentBytesOf(pid: number, which: 'now' | 'peak'): number | null {
  const status = read(`/proc/${pid}/status`)
  const match = status?.match(which === 'now' ? /^VmRSS:\s+(\d+) kB/m : /^VmHWM:\s+(\d+) kB/m)
  return match ? Number(match[1]) * 1024 : null
}

/** CPU seconds all processes together have used since boot, kernel included. */
export function machineCpuSeconds(): number | null {
  const line = read('/proc/stat')?.match(/^cpu +(.+)$/m)
  if (!line) return null
  const [user, nice, system, , , interrupts, softInterrupts] = line[1]!.split(' ').map(Number)
  return (user! + nice! + system! + interrupts! + softInterrupts!) / TICKS_PER_SECOND
}

function together(pids: readonly number[], of: (pid: number) => number | null): number | null {
  let sum: number | null = null
  for (const pid of pids) {
    const one = of(pid)
    if (one === null) return null
    sum = (sum ?? 0) + one
  }
  return sum
}

function read(path: string): string | null {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return null
  }
}
