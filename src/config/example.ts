/** The example file, sluicemq.example.yaml, written from the schema. */
import { stringify } from 'yaml'
import { expectation, kindOf, rootNode, type SchemaNode } from './keys.ts'
import { exampleRule } from './schema.ts'

const head = `# Settings of SluiceMQ. Written from the schema by: sluicemq config example
# A line that starts with # and a letter (#mqttPort: 1883) is a setting at its default: take the # away to change it.
# Every key with its range and environment name: docs/config.md. Check a file with: sluicemq config check FILE
`

/** YAML that holds every key; read as it stands, it means the same as no file at all. */
export function exampleConfig(): string {
  let text = head
  for (const [key, node] of Object.entries(rootNode.properties ?? {})) {
    text += `\n${comment(node.description ?? '', '')}`
    if (key === 'bridge') text += `${stringify({ bridge: [exampleRule] })}${ruleKeys(node.items!, '    # ')}`
    else text += setting(key, node, '')
  }
  return text
}

/** What else a rule may say, each key on a line of its own. */
function ruleKeys(rule: SchemaNode, indent: string): string {
  let text = ''
  for (const [key, node] of Object.entries(rule.properties ?? {})) {
    if (key in exampleRule) continue
    const inner = node.type === 'array' ? node.items : node
    const group = inner?.properties === undefined ? '' : ruleKeys(inner, `${indent}  `)
    text += group === '' ? `${indent}${key}: ${expectation(node)}\n` : `${indent}${key}:\n${group}`
  }
  return text
}

function setting(key: string, node: SchemaNode, indent: string): string {
  if (kindOf(node) === 'group' && node.default === undefined) return `${indent}#${key}: # ${optionalGroup(node)}\n`
  if (kindOf(node) === 'group') return `${indent}${key}:\n${members(node, `${indent}  `)}`
  if (kindOf(node) === 'map') return `${indent}${key}:\n${named(key, node, indent)}`
  const value = node.default === undefined ? '' : inline(node.default)
  return `${indent}#${key}: ${value === '' ? `# ${expectation(node)}` : value}\n`
}

/** A group that may be left out as a whole, on one line: its keys only make sense together. */
function optionalGroup(node: SchemaNode): string {
  const entries = Object.entries(node.properties ?? {}).map(([key, child]) => `${key}: ${expectation(child)}`)
  return `{ ${entries.join(', ')} }`
}

function members(node: SchemaNode, indent: string): string {
  let text = ''
  for (const [key, child] of Object.entries(node.properties ?? {})) {
    text += `${comment(child.description ?? '', indent)}${setting(key, child, indent)}`
  }
  return text
}

/** One entry of a map, commented out as a whole, without the prose: the reference page has it. */
function named(map: string, node: SchemaNode, indent: string): string {
  const entry = node.additionalProperties as SchemaNode
  if ((entry.required ?? []).length > 0) return `${indent}  # name: ${optionalGroup(entry)}\n`
  const name = map === 'queues' ? exampleRule.queue : 'name'
  const lines = [`${name}:`, ...plainMembers(entry, '  ')]
  return lines.map((line) => `${indent}  #${line}\n`).join('')
}

function plainMembers(node: SchemaNode, indent: string): string[] {
  return Object.entries(node.properties ?? {}).flatMap(([key, child]) => {
    if (kindOf(child) === 'group') return [`${indent}${key}:`, ...plainMembers(child, `${indent}  `)]
    const value = child.default === undefined ? null : inline(child.default)
    return [value === null ? `${indent}# ${key}: ${expectation(child)}` : `${indent}${key}: ${value}`]
  })
}

function inline(value: unknown): string {
  return Array.isArray(value) ? JSON.stringify(value) : stringify(value).trimEnd()
}

/** Prose in lines of at most 120 columns. */
function comment(prose: string, indent: string): string {
  const lines: string[] = []
  let line = ''
  for (const word of prose.replaceAll('`', '').split(' ')) {
    if (line !== '' && indent.length + line.length + word.length + 3 > 120) {
      lines.push(line)
      line = ''
    }
    line += line === '' ? word : ` ${word}`
  }
  return [...lines, line].map((text) => `${indent}# ${text}\n`).join('')
}
