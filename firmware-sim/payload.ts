/**
 * Payload templates: a JSON object whose string values may hold placeholders.
 *
 *     { "run": "{run}", "device": "{device}", "sequence": "{sequence}", "time": "{time}", "celsius": "{random:18:25}" }
 *
 * A value that is nothing but `{sequence}`, `{time}` or `{random:low:high}` becomes a JSON number; inside a longer
 * string the placeholder becomes text. Four top-level fields, whatever they are called, must be exactly `{run}`,
 * `{device}`, `{sequence}` and `{time}`: by them the account recognises the message when a worker receives it.
 */
import type { Random } from './random.ts'

export interface PayloadFacts {
  readonly run: string
  readonly device: string
  /** Counts from 1 per device. */
  readonly sequence: number
  /** When the device made the message, ms since 1970. */
  readonly time: number
}

type Part = string | ((facts: PayloadFacts, random: Random) => string)

const placeholder = /"\{(sequence|time|random:[^}"]*)\}"|\{([a-zA-Z][^{}"]*)\}/g

export class PayloadTemplate {
  readonly #parts: Part[]
  readonly #fields: { [K in keyof PayloadFacts]: string }

  /** Throws an `Error` that says what to correct. */
  constructor(template: Record<string, unknown>) {
    this.#fields = {
      run: identityField(template, 'run'),
      device: identityField(template, 'device'),
      sequence: identityField(template, 'sequence'),
      time: identityField(template, 'time'),
    }
    this.#parts = compile(JSON.stringify(template))
  }

  render(facts: PayloadFacts, random: Random): string {
    let text = ''
    for (const part of this.#parts) text += typeof part === 'string' ? part : part(facts, random)
    return text
  }

  /** The facts a rendered payload carries, or null when it was not made from this template. */
  read(payload: string): PayloadFacts | null {
    let value: Record<string, unknown>
    try {
      value = JSON.parse(payload)
    } catch {
      return null
    }
    if (typeof value !== 'object' || value === null) return null
    const run = value[this.#fields.run]
    const device = value[this.#fields.device]
    const sequence = value[this.#fields.sequence]
    const time = value[this.#fields.time]
    if (typeof run !== 'string' || typeof device !== 'string') return null
    if (typeof sequence !== 'number' || typeof time !== 'number') return null
    return { run, device, sequence, time }
  }
}

function identityField(template: Record<string, unknown>, name: keyof PayloadFacts): string {
  const field = Object.keys(template).find((key) => template[key] === `{${name}}`)
  if (field === undefined) {
    throw new Error(`the payload template needs a top-level field whose value is exactly "{${name}}"`)
  }
  return field
}

function compile(json: string): Part[] {
  const parts: Part[] = []
  let from = 0
  for (const match of json.matchAll(placeholder)) {
    if (match.index > from) parts.push(json.slice(from, match.index))
    parts.push(partFor(match[1] ?? match[2] ?? ''))
    from = match.index + match[0].length
  }
  if (from < json.length) parts.push(json.slice(from))
  return parts
}

function partFor(expression: string): Part {
  const [name, ...operands] = expression.split(':')
  switch (name) {
    case 'run':
      return (facts) => facts.run
    case 'device':
      return (facts) => facts.device
    case 'sequence':
      return (facts) => String(facts.sequence)
    case 'time':
      return (facts) => String(facts.time)
    case 'isoTime':
      return (facts) => new Date(facts.time).toISOString()
    case 'random':
      return randomPart(expression, operands)
    case 'filler':
      return fillerPart(expression, operands)
    default:
      throw new Error(
        `unknown placeholder {${expression}}: there are {run}, {device}, {sequence}, {time}, {isoTime}, ` +
          '{random:low:high} and {filler:bytes}',
      )
  }
}

function randomPart(expression: string, operands: string[]): Part {
  const [low, high] = operands.map(Number)
  if (low === undefined || high === undefined || operands.length !== 2 || !(low <= high)) {
    throw new Error(`{${expression}}: write {random:low:high} with two numbers, the lower first`)
  }
  return (_facts, random) => (low + (high - low) * random()).toFixed(2)
}

function fillerPart(expression: string, operands: string[]): Part {
  const bytes = Number(operands[0])
  if (operands.length !== 1 || !Number.isInteger(bytes) || bytes < 0 || bytes > 1_000_000) {
    throw new Error(`{${expression}}: write {filler:bytes} with a whole number up to 1000000`)
  }
  return 'x'.repeat(bytes)
}
