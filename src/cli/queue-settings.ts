/** `sluicemq queue set | unset | group`: settings of a queue that change while the broker runs. */
import { ApiError, callApi, speaking } from './api.ts'
import { exitCodes } from './exit-codes.ts'
import type { ProcessPort } from './start.ts'

type Port = Pick<ProcessPort, 'out' | 'err'>
type Settings = Record<string, unknown>

/** @param changes `key=value`, keys of docs/config.md below `queues.*` joined by dots, values as in YAML or JSON */
export function setQueue(url: string, name: string, changes: readonly string[], process: Port): Promise<number> {
  return speaking(process, async () => {
    const settings = await settingsOf(url, name)
    for (const change of changes) assign(settings, change)
    const now = await callApi(url, 'PUT', `${pathOf(name)}/settings`, settings)
    process.out(`${JSON.stringify(now, null, 2)}\n`)
  })
}

export function unsetQueue(url: string, name: string, process: Port): Promise<number> {
  return speaking(process, async () => {
    const now = await callApi(url, 'DELETE', `${pathOf(name)}/settings`)
    process.out(`${JSON.stringify(now, null, 2)}\n`)
  })
}

export function addGroup(url: string, name: string, group: string, process: Port): Promise<number> {
  return speaking(process, async () => {
    const info = await callApi(url, 'PUT', `${pathOf(name)}/groups/${encodeURIComponent(group)}`)
    process.out(`${(info as { name: string }).name} sees every message of ${name} from now on\n`)
  })
}

/** Those in force; none for a queue that is to be made. */
async function settingsOf(url: string, name: string): Promise<Settings> {
  try {
    return (await callApi(url, 'GET', `${pathOf(name)}/settings`)) as Settings
  } catch (error) {
    if (error instanceof ApiError && error.message.startsWith('queue_unknown')) return {}
    throw error
  }
}

function assign(settings: Settings, change: string): void {
  const equals = change.indexOf('=')
  if (equals <= 0) throw new ApiError(`${change}: a setting is changed by key=value`, exitCodes.usage.code)
  const keys = change.slice(0, equals).split('.')
  const last = keys.pop()!
  let at = settings
  for (const key of keys) {
    if (typeof at[key] !== 'object' || at[key] === null) at[key] = {}
    at = at[key] as Settings
  }
  at[last] = parsed(change.slice(equals + 1))
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return text
  }
}

function pathOf(name: string): string {
  return `/queues/${encodeURIComponent(name)}`
}
