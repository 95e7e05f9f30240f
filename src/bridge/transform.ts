/**
 * What a rule makes of a JSON payload: `pick`, then `remove`, then `rename`, then `set`; or a `template`, which makes all
 * of it anew. The message that sessions get is never touched.
 */
import type { Candidate } from './candidate.ts'
import type { NamedFilter } from './filter.ts'
import { type PayloadPath, parsePayloadPath, readPath, removePath, writePath } from './payload-path.ts'
import { compileTemplate, type Template } from './template.ts'

export interface TransformConfig {
  /** Paths that stay, where they are. */
  pick?: readonly string[]
  /** Paths that go. */
  remove?: readonly string[]
  /** Old path to new path. */
  rename?: Readonly<Record<string, string>>
  /** Path to a constant; text is a template. A value that cannot be filled is left out. */
  set?: Readonly<Record<string, unknown>>
  /** The whole payload as text with references. */
  template?: string
}

export interface Transform {
  /** Whether the payload must be a JSON object. */
  readonly needsObject: boolean
  /**
   * The new payload.
   * @throws Error in words: the message lacks what the template needs
   */
  apply(candidate: Candidate): Buffer
}

type Step = (value: Record<string, unknown>, candidate: Candidate) => Record<string, unknown>

/** @throws Error in words, with the key at its beginning */
export function compileTransform(config: TransformConfig, filter: NamedFilter): Transform {
  const { template, ...others } = config
  if (template !== undefined) {
    const other = Object.keys(others)[0]
    if (other !== undefined) throw new Error(`template makes the whole payload; ${other} beside it would do nothing`)
    return fromTemplate(at('template', () => compileTemplate(template, filter)))
  }
  const steps = [pick(config), remove(config), rename(config), set(config, filter)].filter((step) => step !== null)
  if (steps.length === 0) throw new Error('does nothing; say pick, remove, rename, set or template')
  return {
    needsObject: true,
    apply: (candidate) => {
      // `pick` makes a value of its own; the others change what they are given.
      let value = candidate.json as Record<string, unknown>
      if (config.pick === undefined) value = structuredClone(value)
      for (const step of steps) value = step(value, candidate)
      return Buffer.from(JSON.stringify(value))
    },
  }
}

function fromTemplate(template: Template): Transform {
  return {
    needsObject: false,
    apply: (candidate) => {
      const text = template.fill(candidate)
      if (text === undefined) throw new Error('the message lacks a value that the template refers to')
      return Buffer.from(text)
    },
  }
}

function pick({ pick: paths }: TransformConfig): Step | null {
  if (paths === undefined) return null
  const kept = paths.map((text, i) => at(`pick[${i}]`, () => parsePayloadPath(text)))
  return (value) => {
    const picked: Record<string, unknown> = {}
    for (const path of kept) {
      const found = readPath(value, path)
      if (found !== undefined) writePath(picked, path, structuredClone(found))
    }
    return picked
  }
}

function remove({ remove: paths }: TransformConfig): Step | null {
  if (paths === undefined) return null
  const gone = paths.map((text, i) => at(`remove[${i}]`, () => parsePayloadPath(text)))
  return (value) => {
    for (const path of gone) removePath(value, path)
    return value
  }
}

function rename({ rename: names }: TransformConfig): Step | null {
  if (names === undefined) return null
  const moves = Object.entries(names).map(
    ([from, to]) =>
      [at(`rename.${from}`, () => parsePayloadPath(from)), at(`rename.${from}`, () => parsePayloadPath(to))] as const,
  )
  return (value) => {
    // All are taken out before one is put back, so that two names can be exchanged.
    const taken: [PayloadPath, unknown][] = []
    for (const [from, to] of moves) {
      const found = removePath(value, from)
      if (found !== undefined) taken.push([to, found])
    }
    for (const [to, found] of taken)
      if (!writePath(value, to, found)) throw new Error(`there is no object to put ${to.join('.')} into`)
    return value
  }
}

function set({ set: values }: TransformConfig, filter: NamedFilter): Step | null {
  if (values === undefined) return null
  const made = Object.entries(values).map(([text, constant]) => {
    const key = `set.${text}`
    const template = typeof constant === 'string' ? at(key, () => compileTemplate(constant, filter)) : null
    return { path: at(key, () => parsePayloadPath(text)), constant, template }
  })
  return (value, candidate) => {
    for (const { path, constant, template } of made) {
      const filled = template === null ? structuredClone(constant) : template.fill(candidate)
      if (filled !== undefined && !writePath(value, path, filled))
        throw new Error(`there is no object to put ${path.join('.')} into`)
    }
    return value
  }
}

function at<T>(key: string, compile: () => T): T {
  try {
    return compile()
  } catch (error) {
    throw new Error(`${key}: ${(error as Error).message}`)
  }
}
