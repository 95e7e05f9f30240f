/** What a CPU profile of the broker says in a few lines. */
import { readFile } from 'node:fs/promises'

/** The parts of a `.cpuprofile` that are read here (Chrome DevTools protocol, Profiler.Profile). */
export interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number }
  }[]
  /** Node on top of the stack at each sample. */
  readonly samples: readonly number[]
  /** µs since the sample before. */
  readonly timeDeltas: readonly number[]
}

export interface SelfTime {
  /** `name (file.js:12)`, or the engine's own name in parentheses. */
  readonly place: string
  /** Of the time the process was not idle. */
  readonly share: number
}

/** The functions in which the process itself spent most of its busy time, the largest first. */
export function selfTimes(profile: CpuProfile, count: number): SelfTime[] {
  const places = new Map(profile.nodes.map((node) => [node.id, placeOf(node.callFrame)]))
  const spent = new Map<string, number>()
  let busy = 0
  profile.samples.forEach((id, i) => {
    const place = places.get(id) ?? '(unknown)'
    if (place === '(idle)') return
    const micros = Math.max(0, profile.timeDeltas[i] ?? 0)
    busy += micros
    spent.set(place, (spent.get(place) ?? 0) + micros)
  })
  const sorted = [...spent].sort(([, a], [, b]) => b - a).slice(0, count)
  return sorted.map(([place, micros]) => ({ place, share: busy === 0 ? 0 : micros / busy }))
}

export async function readProfile(file: string): Promise<CpuProfile> {
  return JSON.parse(await readFile(file, 'utf8')) as CpuProfile
}

/** One line: `31 % writev (node:…), 12 % (garbage collector), …`. */
export function profileLine(profile: CpuProfile, count = 8): string {
  return selfTimes(profile, count)
    .map(({ place, share }) => `${(share * 100).toFixed(0)} % ${place}`)
    .join(', ')
}

function placeOf({ functionName, url, lineNumber }: CpuProfile['nodes'][number]['callFrame']): string {
  const name = functionName === '' ? '(anonymous)' : functionName
  if (url === '') return name
  return `${name} (${url.slice(url.lastIndexOf('/') + 1)}:${lineNumber + 1})`
}
