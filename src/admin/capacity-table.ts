/**
 * The table of work queues on the page at `/`: heading and rows in the browser, from `GET /api/v1/queue-forecasts`. Everything
 * that comes from the broker is put in as text.
 */

/** Heading, what it means, and where the figure comes from: the script below reads it. */
const columns: readonly (readonly [heading: string, meaning: string, kind: string, from: string])[] = [
  ['Queue', 'name', 'text', 'queue'],
  ['waiting', 'messages not done', 'count', 'measured.waiting'],
  ['leased', 'messages with workers', 'count', 'leased'],
  ['W', 'messages that come, per second', 'rate', 'measured.writeRate'],
  ['R', 'messages that are done, per second', 'rate', 'measured.serviceRate'],
  ['D', 'time a worker takes for one', 'time', 'measured.serviceSeconds'],
  ['G', 'workers', 'count', 'measured.workers'],
  ['C', 'W / R: above 1 the queue grows', 'number', 'forecast.congestion'],
  ['Δt', 'C·D / W: compares queues, is no time to wait', 'number', 'forecast.deltaSeconds'],
  ['P', '1 / D: messages one worker can do per second', 'rate', 'forecast.capacityPerWorker'],
  ['P_c', 'G·P: messages all workers can do per second', 'rate', 'forecast.capacity'],
  ['ρ', 'share of their time workers are busy', 'share', 'forecast.utilisation'],
  ['wait', 'mean wait for a worker (Erlang C)', 'time', 'forecast.waitSeconds'],
  ['to drain', 'until what waits is done', 'time', 'forecast.drainSeconds'],
  ['to full', 'until the queue is full', 'time', 'forecast.fullSeconds'],
  ['needed', 'workers for a mean wait of one second', 'count', 'forecast.workersNeeded'],
]

export const tableHtml = `<table id="queues" hidden><thead><tr>${columns
  .map(([heading, meaning]) => `<th scope="col"><abbr title="${meaning}">${heading}</abbr></th>`)
  .join('')}</tr></thead><tbody></tbody></table>
<p id="queues-state">Asking the broker …</p>
<noscript><p>The table needs JavaScript; <code>sluicemq queue forecast QUEUE</code> and <a href="/metrics">/metrics</a> say the same.</p></noscript>`

export const tableCss = `
  table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .875rem; width: 100% }
  .wide { overflow-x: auto }
  th, td { text-align: right; padding: .3em .6em; border-bottom: 1px solid #8884; white-space: nowrap }
  th:first-child, td:first-child { text-align: left }
  th abbr { text-decoration: none; cursor: help }
  td.bad { color: #b3261e; font-weight: 600 }
  @media (prefers-color-scheme: dark) { td.bad { color: #ff8a80 } }`

/** The script at `/queues.js`. */
export const tableScript = `'use strict'
const columns = ${JSON.stringify(columns.map(([, , kind, from]) => ({ kind, path: from.split('.') })))}
const POLL_MS = 2000
const table = document.getElementById('queues')
const state = document.getElementById('queues-state')

const number = (n) => (n === 0 ? '0' : n >= 1000 ? Math.round(n).toLocaleString('en') : String(Number(n.toPrecision(3))))
const time = (s) =>
  s === 0 ? '0' : s < 1 ? number(s * 1000) + ' ms' : s < 120 ? number(s) + ' s' : s < 7200 ? number(s / 60) + ' min'
    : s < 172800 ? number(s / 3600) + ' h' : number(s / 86400) + ' d'
const shown = {
  text: (v) => v,
  count: (v) => (v === null ? '∞' : Math.round(v).toLocaleString('en')),
  number: (v) => (v === null ? '∞' : number(v)),
  rate: (v) => (v === null ? '∞' : number(v) + '/s'),
  share: (v) => (v === null ? '∞' : number(v * 100) + ' %'),
  time: (v) => (v === null ? 'never' : time(v)),
}
const bad = (queue, from) =>
  (from === 'congestion' || from === 'utilisation') && (queue.forecast[from] === null || queue.forecast[from] > 1)

function row(queue) {
  const line = document.createElement('tr')
  for (const { kind, path } of columns) {
    const cell = document.createElement('td')
    const value = path.reduce((part, key) => part[key], queue)
    if (path[0] === 'queue') {
      const link = document.createElement('a')
      link.href = '/api/v1/queues/' + encodeURIComponent(value)
      link.textContent = value
      cell.append(link, queue.paused ? ' (paused)' : '')
    } else {
      cell.textContent = shown[kind](value)
      if (bad(queue, path[1])) cell.className = 'bad'
    }
    line.append(cell)
  }
  return line
}

async function poll() {
  try {
    const response = await fetch('/api/v1/queue-forecasts', { cache: 'no-store' })
    if (!response.ok) throw new Error('HTTP status ' + response.status)
    const { queues } = await response.json()
    table.tBodies[0].replaceChildren(...queues.map(row))
    table.hidden = queues.length === 0
    state.textContent = queues.length === 0 ? 'There is no queue yet.' : ''
  } catch (error) {
    state.textContent = 'The broker does not answer: ' + error.message
  }
  setTimeout(poll, document.hidden ? 5 * POLL_MS : POLL_MS)
}
poll()
`
