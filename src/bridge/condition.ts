/** Conditions of bridge rules: one subject, any number of comparisons, all of which must hold. */
import type { Candidate } from './candidate.ts'
import { levelNames, levelReader, type NamedFilter } from './filter.ts'
import { parsePayloadPath } from './payload-path.ts'
import { payloadValue, suggestion } from './template.ts'

type Scalar = string | number | boolean | null

/** Exactly one of `level`, `payload`, `property`, `message` says what is looked at. */
export interface ConditionConfig {
  level?: string
  payload?: string
  property?: string
  message?: 'clientId' | 'userName' | 'topic' | 'qos' | 'retain'
  equals?: Scalar
  not?: Scalar
  in?: readonly Scalar[]
  gt?: number
  gte?: number
  lt?: number
  lte?: number
  exists?: boolean
  startsWith?: string
  endsWith?: string
  contains?: string
}

export interface Condition {
  /** Whether the topic alone decides. */
  readonly fromTopic: boolean
  holds(candidate: Candidate): boolean
  /** As the operator wrote it, for `rule test`. */
  readonly text: string
}

const SUBJECTS = ['level', 'payload', 'property', 'message'] as const
type Test = (value: unknown) => boolean

/** @throws Error in words */
export function compileCondition(config: ConditionConfig, filter: NamedFilter): Condition {
  const subjects = SUBJECTS.filter((subject) => config[subject] !== undefined)
  if (subjects.length !== 1)
    throw new Error(`says what it looks at with one of ${SUBJECTS.join(', ')}; there are ${subjects.length}`)
  const read = reader(config, filter)
  const tests = comparisons(config)
  if (tests.length === 0)
    throw new Error(
      'compares with nothing; say equals, not, in, gt, gte, lt, lte, exists, startsWith, endsWith, contains',
    )
  return {
    fromTopic: config.level !== undefined || config.message === 'topic',
    text: JSON.stringify(config),
    holds: (candidate) => {
      const value = read(candidate)
      for (const test of tests) if (!test(value)) return false
      return true
    },
  }
}

function reader(config: ConditionConfig, filter: NamedFilter): (candidate: Candidate) => unknown {
  const { level, payload, property, message } = config
  if (level !== undefined) {
    const read = levelReader(filter, level)
    if (read === null)
      throw new Error(`the Topic Filter has no level named {${level}}${suggestion(level, levelNames(filter), String)}`)
    return (candidate) => read(candidate.levels)
  }
  if (payload !== undefined) {
    const path = parsePayloadPath(payload)
    return (candidate) => payloadValue(candidate, path)
  }
  if (property !== undefined) return (candidate) => candidate.property(property)
  const fact = message!
  return (candidate) => candidate[fact]
}

/** A comparison with something of another kind does not hold: `gt: 40` is false for the text "50". */
function comparisons(config: ConditionConfig): Test[] {
  const tests: Test[] = []
  const { equals, not, gt, gte, lt, lte, exists, startsWith, endsWith, contains } = config
  if (exists !== undefined) tests.push((value) => (value !== undefined) === exists)
  if (equals !== undefined) tests.push((value) => value === equals)
  if (not !== undefined) tests.push((value) => value !== not)
  if (config.in !== undefined) {
    const members = new Set<unknown>(config.in)
    tests.push((value) => members.has(value))
  }
  if (gt !== undefined) tests.push((value) => typeof value === 'number' && value > gt)
  if (gte !== undefined) tests.push((value) => typeof value === 'number' && value >= gte)
  if (lt !== undefined) tests.push((value) => typeof value === 'number' && value < lt)
  if (lte !== undefined) tests.push((value) => typeof value === 'number' && value <= lte)
  if (startsWith !== undefined) tests.push((value) => typeof value === 'string' && value.startsWith(startsWith))
  if (endsWith !== undefined) tests.push((value) => typeof value === 'string' && value.endsWith(endsWith))
  if (contains !== undefined)
    tests.push((value) => (typeof value === 'string' || Array.isArray(value)) && value.includes(contains))
  return tests
}
