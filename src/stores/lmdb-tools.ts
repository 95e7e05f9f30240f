/** What is done to the files of an LMDB store while no broker uses them. */
import type { StoreTools } from '../store.ts'
import { checkAll, repairAll } from './embedded/check.ts'
import { FORMAT_VERSION, readFormat, refuseNewer } from './embedded/format-version.ts'
import { allEntries, migrate } from './embedded/migrations.ts'
import { LmdbEngine } from './lmdb/engine.ts'

async function use<T>(dir: string, work: (disk: LmdbEngine) => Promise<T> | T): Promise<T> {
  const disk = new LmdbEngine(dir)
  await disk.open({ mustExist: true })
  try {
    return await work(disk)
  } finally {
    await disk.close()
  }
}

export const lmdbTools: StoreTools = {
  info: (dir) =>
    use(dir, (disk) => {
      const format = readFormat(disk) ?? FORMAT_VERSION
      refuseNewer(format)
      const { bytes, freeBytes } = disk.space()
      return { format, bytes, freeBytes }
    }),

  check: (dir, repair) =>
    use(dir, async (disk) => {
      // A store of an older format has no checksums yet: it gets them first, and is kept as it was.
      await migrate(disk)
      const { counts, findings, waiting, waitingWritten } = checkAll(disk)
      const problems = findings.map(({ record, problem }) => `${record}: ${problem}`)
      problems.push(...disk.mended.map((what) => `${what}: it was mended`))
      if (waiting !== waitingWritten && findings.length === 0)
        problems.push(`the number of messages that wait: ${waitingWritten} is written down, ${waiting} are there`)
      if (repair && problems.length > 0) await repairAll(disk, { counts, findings, waiting, waitingWritten })
      return { counts, waiting, problems }
    }),

  compact: (dir) =>
    use(dir, async (disk) => {
      await migrate(disk)
      const before = disk.bytesOnDisk()
      await disk.rewrite(allEntries(disk), null)
      return { before, after: disk.bytesOnDisk() }
    }),
}
