/** `sluicemq queue forecast`: what a queue can take, and what it needs. */
import { callApi, speaking, table } from './api.ts'
import type { ProcessPort } from './start.ts'

interface Outlook {
  measured: Record<'writeRate' | 'serviceRate' | 'serviceSeconds' | 'workers' | 'waiting', number>
  forecast: Record<
    | 'congestion'
    | 'deltaSeconds'
    | 'capacityPerWorker'
    | 'capacity'
    | 'utilisation'
    | 'waitProbability'
    | 'waitSeconds'
    | 'drainSeconds'
    | 'fullSeconds'
    | 'workersNeeded',
    number | null
  >
}

export function forecastQueue(
  url: string,
  name: string,
  { targetWaitMs, workers }: { targetWaitMs: string; workers?: string },
  process: Pick<ProcessPort, 'out' | 'err'>,
): Promise<number> {
  return speaking(process, async () => {
    const query = new URLSearchParams({ targetWaitMs, ...(workers !== undefined && { workers }) })
    const path = `/queues/${encodeURIComponent(name)}/forecast?${query}`
    const { measured: m, forecast: f } = (await callApi(url, 'GET', path)) as Outlook
    const rows = [
      ['W', number(m.writeRate), 'messages come in a second'],
      ['R', number(m.serviceRate), 'messages are done in a second'],
      ['D', seconds(m.serviceSeconds), 'a worker takes for one'],
      ['G', number(m.workers), 'workers'],
      ['', number(m.waiting), 'messages not done'],
      ['C = W/R', number(f.congestion), 'above 1 the queue grows'],
      ['Δt = C·D/W', number(f.deltaSeconds), 'for each message that comes'],
      ['P', number(f.capacityPerWorker), 'messages one worker can do in a second'],
      ['P_c = G·P', number(f.capacity), 'messages all workers can do in a second'],
      ['ρ', percent(f.utilisation), 'of their time workers are busy'],
      ['', percent(f.waitProbability), 'of the messages wait for a worker (Erlang C)'],
      ['', seconds(f.waitSeconds), 'they wait on average'],
      ['', seconds(f.drainSeconds), 'until what waits is done'],
      ['', seconds(f.fullSeconds), 'until the queue is full'],
      ['', number(f.workersNeeded), `workers for a mean wait of ${targetWaitMs} ms`],
    ]
    process.out(table(['', 'VALUE', name], rows))
  })
}

function number(value: number | null): string {
  return value === null ? 'never' : value === 0 ? '0' : Number(value.toPrecision(4)).toString()
}

function percent(value: number | null): string {
  return value === null ? 'all' : `${number(value * 100)} %`
}

function seconds(value: number | null): string {
  if (value === null) return 'never'
  return value < 1 ? `${number(value * 1000)} ms` : value < 600 ? `${number(value)} s` : `${number(value / 3600)} h`
}
