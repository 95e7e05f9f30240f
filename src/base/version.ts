/** The version of the package this file belongs to. */
import { readFileSync } from 'node:fs'

/** Looks upwards, because the compiled file lies one folder deeper than the source. */
export function packageVersion(): string {
  for (const above of ['../../package.json', '../../../package.json']) {
    try {
      const { name, version } = JSON.parse(readFileSync(new URL(above, import.meta.url), 'utf8'))
      if (name === 'sluicemq') return version
    } catch {
      // Not there: one folder further up.
    }
  }
  return 'unknown'
}
