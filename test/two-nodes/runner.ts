/** Leaves out what one-node.json names: neither it nor what prepares it is run. */

import type { RunnerTestCase, RunnerTestSuite } from 'vitest'
import { TestRunner } from 'vitest'
import { isExcepted } from './one-node.ts'

export default class TwoNodesRunner extends TestRunner {
  override async onBeforeRunSuite(suite: RunnerTestSuite): Promise<void> {
    for (const task of suite.tasks) if (isExcepted(task.file.filepath, nameOf(task))) task.mode = 'skip'
    await super.onBeforeRunSuite(suite)
  }
}

/** As the JSON report joins names, but with ` > `. */
function nameOf(task: RunnerTestCase | RunnerTestSuite): string {
  const above = task.suite === undefined ? '' : nameOf(task.suite)
  return above === '' ? task.name : `${above} > ${task.name}`
}
