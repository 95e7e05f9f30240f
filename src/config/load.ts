/** Settings from flags, environment and file: flags over environment over file over default. */
import { readFileSync } from 'node:fs'
import { SluiceError } from '../errors.ts'
import { checkTogether } from './checks.ts'
import { rootNode } from './keys.ts'
import { environmentLayer, fileLayer, flagLayer, type Layer, mergeLayers } from './layers.ts'
import { issueLines } from './problems.ts'
import { type Config, configSchema, exampleRule } from './schema.ts'

export interface ConfigSources {
  /** Path of a YAML file, or undefined for none. */
  readonly file?: string | undefined
  /** `process.env`; names other than SLUICEMQ_* are not looked at. */
  readonly env?: Readonly<Record<string, string | undefined>>
  readonly flags?: readonly { key: string; flag: string; text: string }[]
}

/**
 * Reads, merges and validates. Without a file the example rule is in force (see `exampleRule`).
 *
 * @throws SluiceError `config_invalid` whose message has one line per problem: where it was written, which key, what was
 * expected and what was found.
 */
export function loadConfig(sources: ConfigSources): Config {
  const problems: string[] = []
  const layers: Layer[] = []
  if (sources.file === undefined) layers.push({ values: { bridge: [exampleRule] }, where: () => null })
  else layers.push(fileLayer(sources.file, readFile(sources.file), problems))
  layers.push(environmentLayer(sources.env ?? {}, problems), flagLayer(sources.flags ?? []))

  const where = (path: readonly PropertyKey[]): string => {
    for (const layer of layers.toReversed()) {
      const place = layer.where(path)
      if (place !== null) return `${place}: `
    }
    return ''
  }
  const values = mergeLayers(layers, rootNode)
  const parsed = configSchema.safeParse(values)
  if (!parsed.success) problems.push(...issueLines(parsed.error.issues, values, where))
  if (problems.length === 0 && parsed.success) problems.push(...checkTogether(parsed.data, where))
  if (problems.length > 0 || !parsed.success) throw new SluiceError('config_invalid', problems.join('\n'))
  return parsed.data
}

function readFile(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    const reason = code === 'ENOENT' ? 'there is no such file' : `cannot be read (${code})`
    throw new SluiceError('config_invalid', `${path}: ${reason}`, { cause: error })
  }
}
