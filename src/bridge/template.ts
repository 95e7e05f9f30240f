/**
 * Text with references to the message: `{level:site}/{payload:/serial}`. Used for keys and for payloads.
 *
 * | reference | stands for |
 * |---|---|
 * | `{client}` `{user}` | Client Identifier and User Name of the publisher |
 * | `{topic}` | the Topic Name |
 * | `{level:NAME}` | a named level of the rule's Topic Filter, or a level by its place, `{level:0}` the first |
 * | `{payload:PATH}` | a value of the JSON payload (see payload-path.ts); objects and lists as JSON |
 * | `{json:PATH}` | the same as JSON, text in quotes |
 * | `{property:NAME}` | the first user property of that name (MQTT 5) |
 * | `{time}` | when the broker took the message, ISO 8601 |
 * | `{retransmission}` | what a retransmission has in common with what it repeats; for `deduplicate` only |
 *
 * `{{` and `}}` stand for braces.
 */
import { nearest } from '../config/nearest.ts'
import { type Candidate, NOT_JSON } from './candidate.ts'
import { levelNames, levelReader, type NamedFilter } from './filter.ts'
import { parsePayloadPath, readPath } from './payload-path.ts'

export interface Template {
  /** Whether all of it follows from the topic, so that it can be made once for each topic. */
  readonly fromTopic: boolean
  /** It is `{retransmission}`: see `Candidate.retransmissionKey`. */
  readonly retransmission: boolean
  /** Undefined: the message lacks something that is referred to. */
  fill(candidate: Candidate): string | undefined
}

type Part = (candidate: Candidate) => string | undefined

const KINDS = ['client', 'user', 'topic', 'time', 'level:', 'payload:', 'json:', 'property:', 'retransmission']
const FROM_TOPIC = /^(topic$|level:)/

/** @throws Error in words */
export function compileTemplate(text: string, filter: NamedFilter): Template {
  if (text === '{retransmission}')
    return { fromTopic: false, retransmission: true, fill: (candidate) => candidate.retransmissionKey }
  const parts: Part[] = []
  let fromTopic = true
  let literal = ''
  const endLiteral = (): void => {
    const value = literal
    literal = ''
    if (value !== '') parts.push(() => value)
  }
  for (let at = 0; at < text.length; ) {
    const character = text[at]!
    if ((character === '{' || character === '}') && text[at + 1] === character) {
      literal += character
      at += 2
    } else if (character === '{') {
      const end = text.indexOf('}', at)
      if (end === -1) throw new Error(`${JSON.stringify(text)}: a { without its }; write {{ for the character`)
      const reference = text.slice(at + 1, end)
      endLiteral()
      parts.push(compileReference(reference, filter))
      if (!FROM_TOPIC.test(reference)) fromTopic = false
      at = end + 1
    } else if (character === '}') {
      throw new Error(`${JSON.stringify(text)}: a } without its {; write }} for the character`)
    } else {
      literal += character
      at++
    }
  }
  endLiteral()
  return { fromTopic, retransmission: false, fill: filler(parts) }
}

function filler(parts: readonly Part[]): Part {
  const [only] = parts
  if (parts.length === 1) return only!
  return (candidate) => {
    let text = ''
    for (const part of parts) {
      const value = part(candidate)
      if (value === undefined) return undefined
      text += value
    }
    return text
  }
}

function compileReference(reference: string, filter: NamedFilter): Part {
  const colon = reference.indexOf(':')
  const kind = colon === -1 ? reference : reference.slice(0, colon)
  const name = colon === -1 ? null : reference.slice(colon + 1)
  if (name === null) {
    if (kind === 'client') return (candidate) => candidate.clientId
    if (kind === 'user') return (candidate) => candidate.userName
    if (kind === 'topic') return (candidate) => candidate.topic
    if (kind === 'time') return (candidate) => new Date(candidate.time).toISOString()
    if (kind === 'retransmission') throw new Error('{retransmission} stands alone, without text around it')
  } else if (name === '') {
    throw new Error(`{${reference}} names nothing`)
  } else if (kind === 'level') {
    return compileLevel(name, filter)
  } else if (kind === 'payload' || kind === 'json') {
    const path = parsePayloadPath(name)
    return (candidate) => textOf(payloadValue(candidate, path), kind === 'json')
  } else if (kind === 'property') {
    return (candidate) => candidate.property(name)
  }
  throw new Error(`{${reference}} is no reference${suggestion(reference, KINDS, (key) => `{${key}}`)}`)
}

function compileLevel(name: string, filter: NamedFilter): Part {
  const read = levelReader(filter, name)
  if (read === null)
    throw new Error(`the Topic Filter has no level named {${name}}${suggestion(name, levelNames(filter), String)}`)
  return (candidate) => read(candidate.levels)
}

/** `; did you mean …?`, or what there is. */
export function suggestion(wrong: string, candidates: readonly string[], show: (key: string) => string): string {
  const near = nearest(wrong, candidates)
  if (near !== null) return `; did you mean ${show(near)}?`
  return candidates.length === 0 ? '' : `; there is ${candidates.map(show).join(', ')}`
}

/** The value there; undefined: there is none, or the payload is no JSON. */
export function payloadValue(candidate: Candidate, path: readonly string[]): unknown {
  const { json } = candidate
  return json === NOT_JSON ? undefined : readPath(json, path)
}

function textOf(value: unknown, json: boolean): string | undefined {
  if (value === undefined) return undefined
  return typeof value === 'string' && !json ? value : JSON.stringify(value)
}
