/** `sluicemq rule list | apply | delete | test`: bridge rules of a running broker; `test` also those of a file. */
import { readFileSync } from 'node:fs'
import { parse } from 'yaml'
import { systemClock } from '../base/clock.ts'
import type { RuleConfig } from '../bridge/rule.ts'
import { type RuleTrial, tryRules } from '../bridge/try-rules.ts'
import { loadConfig } from '../config/load.ts'
import { SluiceError } from '../errors.ts'
import { ApiError, callApi, speaking, table } from './api.ts'
import { exitCodes } from './exit-codes.ts'
import type { ProcessPort } from './start.ts'

type Port = Pick<ProcessPort, 'out' | 'err'>

interface Listed {
  name: string
  topicFilter: string
  queue: string
  source: string
  counters: { kept: number; skipped: number; quarantined: number; refused: number }
}

export function listRules(url: string, process: Port): Promise<number> {
  return speaking(process, async () => {
    const { rules } = (await callApi(url, 'GET', '/rules')) as { rules: Listed[] }
    const rows = rules.map(({ name, topicFilter, queue, source, counters }) => {
      const { kept, skipped, quarantined, refused } = counters
      return [name, topicFilter, queue, source, `${kept}`, `${skipped}`, `${quarantined}`, `${refused}`]
    })
    process.out(table(['NAME', 'TOPIC FILTER', 'QUEUE', 'FROM', 'KEPT', 'SKIPPED', 'QUARANTINED', 'REFUSED'], rows))
  })
}

/** The file holds one rule, a list of rules, or a config file's `bridge`. All are checked by the broker, one after the other. */
export function applyRules(url: string, file: string, process: Port): Promise<number> {
  return speaking(process, async () => {
    for (const rule of rulesIn(file)) {
      const { name, topicFilter, queue } = rule
      const called = name ?? `${topicFilter} > ${queue}`
      await callApi(url, 'PUT', `/rules/${encodeURIComponent(called)}`, rule)
      process.out(`applied ${called}\n`)
    }
  })
}

export function deleteRule(url: string, name: string, process: Port): Promise<number> {
  return speaking(process, async () => {
    await callApi(url, 'DELETE', `/rules/${encodeURIComponent(name)}`)
    process.out(`deleted ${name}\n`)
  })
}

export interface TestedMessage {
  readonly topic: string
  readonly payload: string
  readonly clientId: string
  readonly userProperties: [string, string][]
}

/** With a config file its rules are tried without a broker, else those in force. */
export function testRules(
  url: string,
  file: string | undefined,
  message: TestedMessage,
  process: Port,
): Promise<number> {
  return speaking(process, async () => {
    let results: RuleTrial[]
    if (file === undefined) {
      results = ((await callApi(url, 'POST', '/rules/test', message)) as { results: RuleTrial[] }).results
    } else {
      const { payload, ...facts } = message
      const time = systemClock.now()
      const described = { ...facts, payload: Buffer.from(payload), qos: 1 as const, retain: false, time }
      results = tryRules(configured(file), described)
    }
    for (const { rule, outcome, ...facts } of results) {
      process.out(`${rule}: ${outcome}\n`)
      for (const [key, value] of Object.entries(facts))
        process.out(`  ${key}: ${typeof value === 'string' ? value : JSON.stringify(value)}\n`)
    }
  })
}

function rulesIn(file: string): RuleConfig[] {
  let content: unknown
  try {
    content = parse(readFileSync(file, 'utf8'))
  } catch (error) {
    throw new ApiError(`${file}: ${(error as Error).message}`, exitCodes.config.code)
  }
  const found = (content as { bridge?: unknown } | null)?.bridge ?? content
  const rules = Array.isArray(found) ? found : [found]
  if (rules.every((rule) => typeof rule === 'object' && rule !== null)) return rules as RuleConfig[]
  throw new ApiError(`${file}: holds no rules`, exitCodes.config.code)
}

function configured(file: string): RuleConfig[] {
  try {
    return loadConfig({ file }).bridge as RuleConfig[]
  } catch (error) {
    if (error instanceof SluiceError) throw new ApiError(error.message, exitCodes.config.code)
    throw error
  }
}
