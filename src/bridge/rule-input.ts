/** Rules that come from outside, over HTTP or from a file of the command line: checked as the config file is. */
import { z } from 'zod'
import { bridgeRuleSchema } from '../config/bridge.ts'
import { nearest } from '../config/nearest.ts'
import { SluiceError } from '../errors.ts'
import { Rule, type RuleConfig, type RuleParts } from './rule.ts'

/**
 * @param place what the rule is called in messages: `bridge[0]`, or empty
 * @throws SluiceError rule_invalid with one line per problem
 */
export function ruleOf(input: unknown, parts: RuleParts, place: string): Rule {
  const parsed = bridgeRuleSchema.safeParse(input)
  if (!parsed.success) {
    const lines = parsed.error.issues.flatMap((issue) => problems(issue, input))
    throw new SluiceError('rule_invalid', lines.map((line) => placed(place, line)).join('\n'))
  }
  try {
    return new Rule(parsed.data as RuleConfig, parts)
  } catch (error) {
    throw new SluiceError('rule_invalid', placed(place, (error as Error).message), { cause: error })
  }
}

function placed(place: string, line: string): string {
  return place === '' ? line : `${place}.${line}`
}

function problems(issue: z.core.$ZodIssue, input: unknown): string[] {
  if (issue.code === 'unrecognized_keys')
    return issue.keys.map((key) => {
      const near = nearest(key, keysAt(issue.path))
      return `${name([...issue.path, key])}: unknown key${near === null ? '' : `; did you mean ${name([...issue.path, near])}?`}`
    })
  if (issue.path.length === 0) return [`the rule: ${issue.message}`]
  const missing = issue.path.reduce<unknown>((value, key) => (value as Record<PropertyKey, unknown>)?.[key], input)
  return [`${name(issue.path)}: ${missing === undefined ? 'is missing' : issue.message}`]
}

function name(path: readonly PropertyKey[]): string {
  let text = ''
  for (const key of path) text += typeof key === 'number' ? `[${key}]` : text === '' ? String(key) : `.${String(key)}`
  return text
}

interface Node {
  properties?: Record<string, Node>
  items?: Node
  additionalProperties?: Node | boolean
}

const root = z.toJSONSchema(bridgeRuleSchema, { io: 'input' }) as Node

/** The keys that are valid there. */
function keysAt(path: readonly PropertyKey[]): string[] {
  let node: Node | undefined = root
  for (const key of path) node = typeof key === 'number' ? node?.items : node?.properties?.[String(key)]
  return Object.keys(node?.properties ?? {})
}
