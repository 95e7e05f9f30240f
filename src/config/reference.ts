/** The reference page of the settings, docs/config.md, written from the schema. */
import { type ConfigKey, configKeys, expectation, kindOf } from './keys.ts'

const head = `# Settings

Written from the schema by \`sluicemq config docs > docs/config.md\`; do not edit by hand.

A setting is taken from the command line, else from the environment, else from the config file (\`--config FILE\`, YAML),
else it has its default. An unknown key is an error that names the nearest valid one. \`sluicemq config check FILE\` tells
what is wrong with a file without starting anything; \`sluicemq config example\` prints one with every key;
\`sluicemq config schema\` prints a JSON Schema for editors.

Lists and mappings in the environment are written as YAML, e.g.
\`SLUICEMQ_BRIDGE='[{ topicFilter: "devices/+/telemetry", queue: telemetry }]'\`. An empty value counts as not set.
`

/** Markdown, one section per group. */
export function configReference(): string {
  const sections = [section('General', '', (key) => key.path.length === 1 && kindOf(key.node) === 'value')]
  for (const group of configKeys) {
    if (group.path.length !== 1 || group.kind === 'value') continue
    const inside = (key: ConfigKey): boolean =>
      key !== group && key.path[0] === group.path[0] && key.kind !== 'group' && key.kind !== 'map'
    const env = group.kind === 'group' ? '' : ` Environment: \`${group.env}\`.`
    sections.push(section(`\`${group.name}\``, `${group.node.description}${env}\n\n`, inside))
  }
  return `${head}\n${sections.join('\n')}`
}

function section(title: string, text: string, belongs: (key: ConfigKey) => boolean): string {
  const rows = configKeys.filter(belongs).map(row)
  return `## ${title}\n\n${text}| Key | Takes | Default | Meaning |\n|---|---|---|---|\n${rows.join('\n')}\n`
}

function row(key: ConfigKey): string {
  const { node } = key
  const env = key.env === null ? '' : `<br>\`${key.env}\``
  const byDefault = node.default === undefined ? '' : `\`${JSON.stringify(node.default).replaceAll('"', '')}\``
  const cells = [`\`${key.name}\`${env}`, expectation(node), byDefault, node.description ?? '']
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
}
