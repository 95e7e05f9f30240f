/** How much memory there is, and how much of it this process uses. */
import { totalmem } from 'node:os'

/** Bytes of memory this process may use at most: the machine's, or less where a control group says so. */
export function machineMemoryBytes(): number {
  const machine = totalmem()
  // 0 or a huge number where nothing constrains the process.
  const constrained = process.constrainedMemory()
  return constrained > 0 ? Math.min(machine, constrained) : machine
}

/**
 * Bytes that this process has in use: the heap and what lies beside it. Resident memory would also count what was given back
 * and not yet taken by the operating system.
 */
export function usedMemoryBytes(): number {
  const { heapTotal, external } = process.memoryUsage()
  return heapTotal + external
}
