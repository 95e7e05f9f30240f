/** Versions of what is installed: programs on PATH and npm packages. */
import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

/** The first match of `pattern` in what the program prints, or null when there is no such program. */
export function programVersion(program: string, args: readonly string[], pattern: RegExp): Promise<string | null> {
  return new Promise((resolve) => {
    // Some programs print their version with an exit code other than 0: only a missing program counts as absent.
    execFile(program, [...args], (error, stdout, stderr) => {
      if (error && (error as NodeJS.ErrnoException).code === 'ENOENT') resolve(null)
      else resolve(`${stdout}${stderr}`.match(pattern)?.[1] ?? 'unknown')
    })
  })
}

/**
 * URL of the package's entry point. Packages this project does not depend on are also looked for in the project that
 * the environment variable `BENCH_PACKAGES` names, a directory with a `node_modules`. Throws when it is nowhere.
 */
export function packageEntry(name: string): string {
  try {
    return import.meta.resolve(name)
  } catch (error) {
    const elsewhere = process.env['BENCH_PACKAGES']
    if (!elsewhere) throw error
    return pathToFileURL(createRequire(join(elsewhere, 'package.json')).resolve(name)).href
  }
}

/** The version in the package.json above the package's entry point, or null when it is not installed. */
export async function packageVersion(name: string): Promise<string | null> {
  try {
    const entry = packageEntry(name)
    const root = entry.slice(0, entry.lastIndexOf(`/node_modules/${name}/`) + `/node_modules/${name}/`.length)
    const manifest = JSON.parse(await readFile(fileURLToPath(new URL('package.json', root)), 'utf8'))
    return String(manifest.version)
  } catch {
    return null
  }
}
