/** The schema as a list of keys: what flags, environment, messages, reference page and example file are made from. */
import { z } from 'zod'
import { configSchema } from './schema.ts'

/** The part of JSON Schema that zod writes for our settings. */
export interface SchemaNode {
  /** A list: one of several kinds. */
  readonly type?: 'object' | 'array' | 'string' | 'integer' | 'number' | 'boolean' | readonly string[]
  readonly description?: string
  readonly default?: unknown
  readonly enum?: readonly string[]
  readonly minimum?: number
  readonly maximum?: number
  readonly minItems?: number
  readonly maxItems?: number
  readonly pattern?: string
  readonly properties?: Readonly<Record<string, SchemaNode>>
  /** Keys of a group that have no default. */
  readonly required?: readonly string[]
  readonly propertyNames?: SchemaNode
  /** False for a group with fixed keys, a node for a map by name. */
  readonly additionalProperties?: SchemaNode | boolean
  readonly items?: SchemaNode
}

/**
 * `group`: keys fixed by the schema; `map`: keys are names the operator chooses; `list`; `value`: everything else.
 */
export type KeyKind = 'group' | 'map' | 'list' | 'value'

export interface ConfigKey {
  /** Keys from the root; `*` stands for a name in a map, `[]` for an entry of a list. */
  readonly path: readonly string[]
  /** As written in messages and documentation: `limits.packetBytesMax`, `queues.*.leaseMs`, `bridge[].queue`. */
  readonly name: string
  /** Environment name, or null below a map or a list, which are given whole. */
  readonly env: string | null
  readonly kind: KeyKind
  readonly node: SchemaNode
}

/** JSON Schema (draft 2020-12) of a config file. */
export function configJsonSchema(): SchemaNode {
  return z.toJSONSchema(configSchema, { io: 'input' }) as SchemaNode
}

export const rootNode: SchemaNode = configJsonSchema()

/** Every key, groups before what is in them, in the order of the schema. */
export const configKeys: readonly ConfigKey[] = [...walk(rootNode, [])]

function* walk(node: SchemaNode, path: readonly string[]): Generator<ConfigKey> {
  if (path.length > 0) yield describeKey(node, path)
  if (node.items !== undefined) yield* children(node.items, [...path, '[]'])
  if (typeof node.additionalProperties === 'object') yield* children(node.additionalProperties, [...path, '*'])
  yield* children(node, path)
}

function* children(node: SchemaNode, path: readonly string[]): Generator<ConfigKey> {
  for (const [key, child] of Object.entries(node.properties ?? {})) yield* walk(child, [...path, key])
}

function describeKey(node: SchemaNode, path: readonly string[]): ConfigKey {
  const inside = path.includes('*') || path.includes('[]')
  return { path, name: pathName(path), env: inside ? null : environmentName(path), kind: kindOf(node), node }
}

export function kindOf(node: SchemaNode): KeyKind {
  if (node.type === 'array') return 'list'
  if (node.type !== 'object') return 'value'
  return typeof node.additionalProperties === 'object' ? 'map' : 'group'
}

/** `limits.packetBytesMax` is `SLUICEMQ_LIMITS_PACKET_BYTES_MAX`. */
export function environmentName(path: readonly string[]): string {
  return `SLUICEMQ_${path.map((key) => key.replace(/([a-z0-9])([A-Z])/g, '$1_$2').toUpperCase()).join('_')}`
}

/** A path as people write it: `bridge[0].queue`. */
export function pathName(path: readonly PropertyKey[]): string {
  let name = ''
  for (const key of path) {
    if (typeof key === 'number') name += `[${key}]`
    else if (key === '[]') name += '[]'
    else name += name === '' ? String(key) : `.${String(key)}`
  }
  return name
}

/** The schema of the value at a path of a file, or null where the schema knows none. */
export function nodeAt(path: readonly PropertyKey[]): SchemaNode | null {
  let node: SchemaNode | undefined = rootNode
  for (const key of path) {
    if (typeof key === 'number') node = node.items
    else if (typeof node.additionalProperties === 'object') node = node.additionalProperties
    else node = Object.hasOwn(node.properties ?? {}, key) ? node.properties?.[String(key)] : undefined
    if (node === undefined) return null
  }
  return node
}

/** What a key takes, in words: "a whole number from 0 to 65535". */
export function expectation(node: SchemaNode): string {
  if (node.enum !== undefined) return `one of ${node.enum.join(', ')}`
  if (Array.isArray(node.type)) return 'text, a number, true, false or null'
  switch (node.type) {
    case 'integer':
      return `a whole number from ${node.minimum} to ${node.maximum}`
    case 'number':
      return `a number from ${node.minimum} to ${node.maximum}`
    case 'boolean':
      return 'true or false'
    case 'array':
      return node.maxItems === undefined ? 'a list' : `a list of at most ${node.maxItems} entries`
    case 'object':
      return kindOf(node) === 'map' ? 'a mapping from names to settings' : 'a mapping of settings'
    default:
      return 'text'
  }
}
