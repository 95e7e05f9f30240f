/** Workers over MQTT say that they live on `$workers/{id}/heartbeat`, and hear what to do on `$workers/{id}/command`. */
import type { Heartbeat, WorkerCommand } from '../queue/workers.ts'
import { encodeMessage, NO_EXPIRY, Origin } from '../router/message.ts'
import { Publication } from '../router/publication.ts'
import { commandTopic } from '../wire/topic.ts'
import type { Core } from './core.ts'

/** Longer payloads are no heartbeats. */
const BYTES_MAX = 4096
const NAME_MAX = 255
const BROKER = new Origin('', undefined)

/** A PUBLISH to a worker's heartbeat topic: notes it, and answers on its command topic. It goes to subscribers as any other. */
export function workerBeats(core: Core, id: string, payload: Buffer): void {
  core.workerHeard(id, heartbeatOf(payload)).then(
    (command) => tellWorker(core, id, command),
    () => {
      // The node that keeps the queues is away: the next heartbeat counts.
    },
  )
}

/** Publishes what the worker is to do, to whoever is subscribed now. */
export function tellWorker(
  { router, clock }: Pick<Core, 'router' | 'clock'>,
  id: string,
  command: WorkerCommand,
): void {
  const now = clock.now()
  const publication = new Publication()
  const message = encodeMessage({
    topic: commandTopic(id),
    clientId: '',
    qos: 0,
    retain: false,
    time: now,
    properties: Buffer.alloc(0),
    payload: Buffer.from(command),
    expirySeconds: NO_EXPIRY,
  })
  publication.load(message, now)
  const match = router.match(publication.topicBuf, publication.topicStart, publication.topicEnd)
  router.publish(publication, match, { session: null, origin: BROKER })
}

/** What is not as it should be is left out: a heartbeat may be empty. */
function heartbeatOf(payload: Buffer): Heartbeat {
  const said = payload.length > BYTES_MAX ? null : parsed(payload)
  const heartbeat: Record<string, string | number> = {}
  for (const key of ['queue', 'host', 'version'] as const) {
    const value = said?.[key]
    if (typeof value === 'string' && value.length <= NAME_MAX) heartbeat[key] = value
  }
  for (const key of ['pid', 'running', 'done', 'failed'] as const) {
    const value = said?.[key]
    if (Number.isInteger(value) && (value as number) >= 0) heartbeat[key] = value as number
  }
  return heartbeat
}

function parsed(payload: Buffer): Record<string, unknown> | null {
  try {
    const value = JSON.parse(payload.toString()) as unknown
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null
  } catch {
    return null
  }
}
