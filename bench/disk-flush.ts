/** What the disk alone takes for what every commit asks of it: the floor under an acknowledgement that is a receipt. */
import { closeSync, constants, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { Histogram, percentiles } from './load/histogram.ts'
import type { Latency } from './load/result.ts'
import { microseconds } from './load/stopwatch.ts'

const PAGE = 4096
const PAGES = 1024

/**
 * As LMDB commits: two pages here and there in a file that is there already, `fdatasync`, then one page through a descriptor
 * opened O_DSYNC. One after the other, so nothing is gained by writing together; µs for both. Leaves nothing in the directory.
 */
export function diskFlush(directory: string, times = 400): Latency {
  const own = mkdtempSync(join(directory, 'sluicemq-bench-disk-'))
  const file = join(own, 'pages')
  const data = openSync(file, 'w+')
  const meta = openSync(file, constants.O_RDWR | constants.O_DSYNC)
  try {
    const page = Buffer.alloc(PAGE, 1)
    for (let i = 0; i < PAGES; i++) writeSync(data, page, 0, PAGE, i * PAGE)
    fdatasyncSync(data)
    const taken = new Histogram()
    for (let i = 0; i < times; i++) {
      const started = microseconds()
      // 389 and 1024 have no common factor: far from the page before, and seldom the same one.
      for (let k = 0; k < 2; k++) writeSync(data, page, 0, PAGE, (((2 * i + k) * 389) % PAGES) * PAGE)
      fdatasyncSync(data)
      writeSync(meta, page, 0, PAGE, 0)
      taken.record(microseconds() - started)
    }
    return percentiles(taken)
  } finally {
    closeSync(data)
    closeSync(meta)
    rmSync(own, { recursive: true, force: true })
  }
}
