/** Scenarios that are by nature about one node, or about a store that nodes do not share: one-node.json. */
import { readFileSync } from 'node:fs'
import { join, relative } from 'node:path'

/** One scenario, or all of a group. */
export interface Exception {
  /** From the folder `test`. */
  readonly file: string
  /** Names of the groups and the test, joined by ` > `; of a group, it stands for all of it. */
  readonly test: string
  readonly reason: string
}

const folder = join(import.meta.dirname, '..')

export const exceptions: readonly Exception[] = JSON.parse(
  readFileSync(join(import.meta.dirname, 'one-node.json'), 'utf8'),
)

/** Whether the list names the test. @param path of its file */
export function isExcepted(path: string, test: string): boolean {
  const file = relative(folder, path)
  return exceptions.some((one) => one.file === file && (test === one.test || test.startsWith(`${one.test} > `)))
}
