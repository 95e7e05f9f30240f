/** The page at `/`: what this is, how its queues do, and where to go. The dashboard takes its place one day. */
import type { FastifyInstance } from 'fastify'
import type { Config } from '../config/schema.ts'
import { tableCss, tableHtml, tableScript } from './capacity-table.ts'

const policy =
  "default-src 'none'; style-src 'unsafe-inline'; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

/** @param rules those in force, asked for each time */
export function homePage(app: FastifyInstance, rules: () => Config['bridge']): void {
  app.get('/', (_request, reply) =>
    reply
      .type('text/html; charset=utf-8')
      .header('content-security-policy', policy)
      .send(homeHtml({ bridge: rules() })),
  )
  app.get('/queues.js', (_request, reply) => reply.type('text/javascript; charset=utf-8').send(tableScript))
}

export function homeHtml({ bridge }: Pick<Config, 'bridge'>): string {
  const rules = bridge.map(
    ({ topicFilter, queue }) =>
      `<li><code>${escapeHtml(topicFilter)}</code> is kept in the queue ` +
      `<a href="/api/v1/queues/${encodeURIComponent(queue)}">${escapeHtml(queue)}</a></li>`,
  )
  const list = rules.length === 0 ? '<p>No bridge rule is in force.</p>' : `<ul>${rules.join('')}</ul>`
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>SluiceMQ</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 3rem auto; padding: 0 1rem; color: #1b2733 }
  code { background: #eef2f5; padding: 0 .25em; border-radius: 3px }
  a { color: #05608f }
  @media (prefers-color-scheme: dark) { body { background: #10171d; color: #dbe4ea } code { background: #22303a } a { color: #6cc3f2 } }${tableCss}
</style>
<h1>SluiceMQ</h1>
<p>An MQTT broker whose topics become durable work. Devices publish; workers pull, and acknowledge what is done.</p>
<h2>Work queues</h2>
<div class="wide">${tableHtml}</div>
<script src="/queues.js" defer></script>
<h2>Bridge rules</h2>
${list}
<h2>Where to go</h2>
<ul>
  <li><a href="/api/v1/queues">/api/v1/queues</a>: the work queues and how much waits in them</li>
  <li><a href="/api/v1/rules">/api/v1/rules</a>: the bridge rules in force, and what they counted</li>
  <li><a href="/api/v1/openapi.json">/api/v1/openapi.json</a>: everything the API can do</li>
  <li><a href="/health/ready">/health/ready</a> and <a href="/health/live">/health/live</a>: for supervisors</li>
  <li><a href="/metrics">/metrics</a>: for Prometheus</li>
  <li><code>/mqtt</code>: MQTT over WebSocket</li>
</ul>
</html>
`
}

const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => entities[character]!)
}
