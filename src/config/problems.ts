/** What zod found, in sentences an operator can act on. */
import type { z } from 'zod'
import { configKeys, expectation, nodeAt, pathName } from './keys.ts'
import { nearest } from './nearest.ts'

type Where = (path: readonly PropertyKey[]) => string

/** One line per problem: place, path, what was expected, what was found. */
export function issueLines(issues: readonly z.core.$ZodIssue[], values: unknown, where: Where): string[] {
  return issues.flatMap((issue) => {
    if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => unknownKey(issue.path, key, where))
    const name = pathName(issue.path)
    if (issue.code === 'invalid_key') {
      const parent = pathName(issue.path.slice(0, -1))
      const reason = issue.issues[0]?.message ?? 'not a name'
      return [`${where(issue.path)}${parent}: ${show(issue.path.at(-1))} is no name for an entry: ${reason}`]
    }
    const found = valueAt(values, issue.path)
    if (found === undefined) {
      return [`${where(issue.path.slice(0, -1))}${name}: is missing; expected ${expected(issue)}`]
    }
    return [`${where(issue.path)}${name}: expected ${expected(issue)}, got ${show(found, issue.path)}`]
  })
}

function expected(issue: z.core.$ZodIssue): string {
  if (issue.code === 'invalid_format') return issue.message
  const node = nodeAt(issue.path)
  if (node !== null && node.type === 'string' && node.enum === undefined) {
    if (issue.code === 'too_small') return 'text that is not empty'
    if (issue.code === 'too_big') return `text of at most ${issue.maximum} characters`
  }
  return node === null ? issue.message : expectation(node)
}

function unknownKey(parent: readonly PropertyKey[], key: string, where: Where): string {
  const node = nodeAt(parent)
  const sibling = nearest(key, Object.keys(node?.properties ?? {}))
  // A key on the wrong level: `packetBytesMax` at the top belongs under `limits`.
  const elsewhere = configKeys.find(({ path }) => path.at(-1) === key)?.name
  const guess = sibling === null ? elsewhere : pathName([...parent, sibling])
  const path = [...parent, key]
  return `${where(path)}${pathName(path)}: unknown key${guess === undefined ? '' : `; did you mean ${guess}?`}`
}

function valueAt(values: unknown, path: readonly PropertyKey[]): unknown {
  let value = values
  for (const key of path) value = (value as Record<PropertyKey, unknown> | null | undefined)?.[key]
  return value
}

/** A value for a message: short, and without what may hold a password. */
function show(value: unknown, path: readonly PropertyKey[] = []): string {
  if (/url|password|secret|token/i.test(String(path.at(-1) ?? ''))) return 'a value that is not shown'
  const text = JSON.stringify(value) ?? String(value)
  return text.length > 80 ? `${text.slice(0, 77)}...` : text
}
