/** Which machine and process this is, so that another process here can tell whether this one still runs. */
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'

/** The same for all processes of one boot of one machine (or container), and for no others. */
export function machineName(): string {
  let boot = ''
  try {
    boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  } catch {
    // Not Linux: the host's name has to do.
  }
  return `${hostname()}/${boot}`
}

/** This process among all of this machine, also among later ones of the same number. */
export const processName = `${process.pid}@${Math.round(performance.timeOrigin)}`

/** Whether the process of that name, of this machine, still runs. One of the same number that came later counts as it. */
export function runsHere(name: string): boolean {
  const pid = Number.parseInt(name, 10)
  if (!(pid > 0)) return false
  if (pid === process.pid) return name === processName
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
