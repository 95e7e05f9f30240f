/** What a process loads that needs no Redis: asked of a process of its own, compiled (`npm test` builds first). */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { latePackage } from '../../src/base/late-package.ts'

const program = join(import.meta.dirname, '../../dist/src/index.js')

test('a broker with a store of its own loads no client of Redis', async () => {
  const script = `
    import { createRequire } from 'node:module'
    import { createBroker } from ${JSON.stringify(program)}
    const broker = await createBroker()
    await new Promise((resolve) => broker.close(resolve))
    const files = Object.keys(createRequire(${JSON.stringify(program)}).cache)
    const packages = files.map((file) => /.*node_modules\\/((@[^/]+\\/)?[^/]+)/.exec(file)?.[1])
    console.log(JSON.stringify([...new Set(packages)]))`
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script])
  const packages = JSON.parse(stdout) as string[]
  expect(packages).toContain('lmdb')
  expect(packages.filter((name) => /redis|msgpack-lite/.test(name))).toEqual([])
})

test('a package is loaded when it is first asked for, and once', () => {
  const emitter = latePackage<typeof import('node:events')>('node:events')
  expect(emitter()).toBe(emitter())
  expect(() => latePackage('no-such-package')()).toThrow(/no-such-package/)
})
