/**
 * Places in a JSON payload: a JSON Pointer (RFC 6901, `/readings/0/celsius`) or names joined by dots
 * (`readings.0.celsius`). The pointer can name what the dots cannot: members with a dot in their name.
 */

export type PayloadPath = readonly string[]

/** @throws Error in words */
export function parsePayloadPath(text: string): PayloadPath {
  if (text === '') throw new Error('the path is empty')
  if (!text.startsWith('/')) {
    const names = text.split('.')
    if (names.includes('')) throw new Error(`${JSON.stringify(text)} has an empty name between its dots`)
    return checked(names)
  }
  if (/~(?![01])/.test(text)) throw new Error(`${JSON.stringify(text)} is not a JSON Pointer: ~ stands before 0 or 1`)
  return checked(
    text
      .slice(1)
      .split('/')
      .map((name) => name.replaceAll('~1', '/').replaceAll('~0', '~')),
  )
}

/** A path must not lead out of the message into what all objects share. */
function checked(path: string[]): PayloadPath {
  const bad = path.find((name) => name === '__proto__')
  if (bad !== undefined) throw new Error(`${bad} cannot be part of a path`)
  return path
}

/** The value there; undefined: there is none. */
export function readPath(value: unknown, path: PayloadPath): unknown {
  let at = value
  for (const name of path) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, name)) return undefined
    at = (at as Record<string, unknown>)[name]
  }
  return at
}

/** Puts a value there, making objects on the way. False: something on the way is no object. */
export function writePath(root: Record<string, unknown>, path: PayloadPath, value: unknown): boolean {
  let at = root
  for (const [i, name] of path.entries()) {
    if (i === path.length - 1) {
      at[name] = value
      return true
    }
    const next = Object.hasOwn(at, name) ? at[name] : undefined
    if (next === undefined) {
      const made: Record<string, unknown> = {}
      at[name] = made
      at = made
    } else if (typeof next === 'object' && next !== null && !Array.isArray(next)) {
      at = next as Record<string, unknown>
    } else {
      return false
    }
  }
  return false
}

/** Takes the value away; undefined when there was none. */
export function removePath(root: unknown, path: PayloadPath): unknown {
  const parent = readPath(root, path.slice(0, -1))
  const name = path.at(-1)!
  if (typeof parent !== 'object' || parent === null || !Object.hasOwn(parent, name)) return undefined
  const value = (parent as Record<string, unknown>)[name]
  if (Array.isArray(parent)) parent.splice(Number(name), 1)
  else delete (parent as Record<string, unknown>)[name]
  return value
}
