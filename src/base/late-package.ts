import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)

/**
 * Loads a CommonJS package when it is first needed instead of when the program starts: for what most processes never need.
 * `Package` is its type, `typeof import('…')`.
 */
export function latePackage<Package>(name: string): () => Package {
  let loaded: Package | null = null
  return () => {
    loaded ??= require(name) as Package
    return loaded
  }
}
