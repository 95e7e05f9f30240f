/** Where settings come from: one layer each for flags, environment and file, merged key by key. */
import { isMap, isScalar, isSeq, LineCounter, type Node, type ParsedNode, parse, parseDocument } from 'yaml'
import { type ConfigKey, configKeys, kindOf, pathName, type SchemaNode } from './keys.ts'
import { nearest } from './nearest.ts'

export interface Layer {
  /** Settings in the shape of a config file, not validated. */
  readonly values: Record<string, unknown>
  /** Where the value at a path was written, e.g. `broker.yaml:12` or `SLUICEMQ_MQTT_PORT`; null: not in this layer. */
  where(path: readonly PropertyKey[]): string | null
}

/** Settings of a YAML text. Syntax errors are added to `problems` with their line. */
export function fileLayer(name: string, text: string, problems: string[]): Layer {
  const lines = new LineCounter()
  const document = parseDocument<ParsedNode>(text, { lineCounter: lines, prettyErrors: false })
  for (const error of [...document.errors, ...document.warnings]) {
    problems.push(`${name}:${lines.linePos(error.pos[0]).line}: ${error.message}`)
  }
  const where = (path: readonly PropertyKey[]): string | null => {
    const offset = offsetOf(document.contents, path)
    return offset === null ? null : `${name}:${lines.linePos(offset).line}`
  }
  if (document.errors.length > 0 || document.contents === null) return { values: {}, where }
  const values: unknown = document.toJS()
  if (isRecord(values)) return { values, where }
  if (values !== null) problems.push(`${name}:1: expected settings such as "mqttPort: 1883", got ${typeof values}`)
  return { values: {}, where }
}

/** Offset of the last key of the path in the text; null when it is not written there. */
function offsetOf(root: Node | null, path: readonly PropertyKey[]): number | null {
  let node: unknown = root
  let offset: number | null = null
  for (const key of path) {
    if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(key))
      if (pair === undefined) return null
      offset = (pair.key as Node).range?.[0] ?? null
      node = pair.value
    } else if (isSeq(node)) {
      node = node.items[Number(key)]
      if (node === undefined) return null
      offset = (node as Node).range?.[0] ?? null
    } else return null
  }
  return offset
}

/** Names that start with our prefix and are no settings: the file, and what Kubernetes sets for a service `sluicemq`. */
const foreignNames =
  /^SLUICEMQ_(CONFIG|SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)?|TEST_\w+)$/

const environmentKeys: ReadonlyMap<string, ConfigKey> = new Map(
  configKeys.flatMap((key) => (key.env === null || key.kind === 'group' ? [] : [[key.env, key] as const])),
)

/** Settings of the environment. An empty value counts as not set; an unknown name is a problem. */
export function environmentLayer(env: Readonly<Record<string, string | undefined>>, problems: string[]): Layer {
  const given = new Map<string, string>()
  const values: Record<string, unknown> = {}
  for (const [name, text] of Object.entries(env)) {
    if (!name.startsWith('SLUICEMQ_') || foreignNames.test(name) || text === undefined || text === '') continue
    const key = environmentKeys.get(name)
    if (key === undefined) {
      const guess = nearest(name, environmentKeys.keys())
      problems.push(`${name}: no such setting${guess === null ? '' : `; did you mean ${guess}?`}`)
      continue
    }
    given.set(key.name, name)
    put(values, key.path, fromText(key.node, text))
  }
  return { values, where: (path) => longestPrefix(given, path) }
}

/** Settings of the command line: text by key name, with the flag that said so. */
export function flagLayer(flags: readonly { key: string; flag: string; text: string }[]): Layer {
  const given = new Map<string, string>()
  const values: Record<string, unknown> = {}
  for (const { key: name, flag, text } of flags) {
    const key = configKeys.find((candidate) => candidate.name === name)
    if (key === undefined) throw new Error(`the flag ${flag} sets ${name}, which the schema does not have`)
    given.set(name, flag)
    put(values, key.path, fromText(key.node, text))
  }
  return { values, where: (path) => longestPrefix(given, path) }
}

function longestPrefix(given: ReadonlyMap<string, string>, path: readonly PropertyKey[]): string | null {
  for (let length = path.length; length > 0; length--) {
    const found = given.get(pathName(path.slice(0, length)))
    if (found !== undefined) return found
  }
  return null
}

function put(values: Record<string, unknown>, path: readonly string[], value: unknown): void {
  let group = values
  for (const key of path.slice(0, -1)) {
    group[key] ??= {}
    group = group[key] as Record<string, unknown>
  }
  group[path.at(-1)!] = value
}

/** Text as the value its key takes. What cannot be read as that stays text, and validation says what was expected. */
function fromText(node: SchemaNode, text: string): unknown {
  switch (node.type) {
    case 'integer':
    case 'number':
      return /^[+-]?\d+(\.\d+)?$/.test(text.trim()) ? Number(text) : text
    case 'boolean':
      return /^(true|1)$/i.test(text) ? true : /^(false|0)$/i.test(text) ? false : text
    case 'array':
    case 'object':
      return fromYaml(node, text)
    default:
      return text
  }
}

function fromYaml(node: SchemaNode, text: string): unknown {
  try {
    const value: unknown = parse(text)
    const words = typeof value === 'string' && node.items?.type === 'string'
    return words ? value.split(',').map((word) => word.trim()) : value
  } catch {
    return text
  }
}

/** Merges layers, the later ones winning; lists and values are replaced, groups and maps merged. */
export function mergeLayers(layers: readonly Layer[], root: SchemaNode): Record<string, unknown> {
  let merged: Record<string, unknown> = {}
  for (const layer of layers) merged = merge(merged, layer.values, root)
  return merged
}

function merge(
  under: Record<string, unknown>,
  over: Record<string, unknown>,
  node: SchemaNode | undefined,
): Record<string, unknown> {
  const entries = new Map(Object.entries(under))
  for (const [key, value] of Object.entries(over)) {
    const child = typeof node?.additionalProperties === 'object' ? node.additionalProperties : node?.properties?.[key]
    const before = entries.get(key)
    const container = child !== undefined && kindOf(child) !== 'value' && kindOf(child) !== 'list'
    // `limits:` with nothing but comments below it is null in YAML: nothing was set.
    if (container && value === null) {
      // A group without a default may be left out as a whole; an entry of a map is there once it is named.
      const optional = kindOf(node ?? {}) === 'group' && child.default === undefined
      if (before === undefined && !optional) entries.set(key, {})
    } else if (isRecord(value)) entries.set(key, merge(isRecord(before) ? before : {}, value, child))
    else entries.set(key, value)
  }
  // fromEntries defines own properties, so that a key such as __proto__ stays a key.
  return Object.fromEntries(entries)
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
