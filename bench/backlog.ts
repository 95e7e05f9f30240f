/**
 * How fast a persistent session gets what waited for it: messages are published with QoS 1 while the subscriber is away, then it
 * comes back and acknowledges one by one.
 *
 *     node dist/bench/backlog.js [--peers sluicemq-redis,aedes-redis] [--messages 100000] [--limit-seconds 60] [--appendfsync no]
 *
 * Prints one JSON line for each broker. A broker that stops in the middle is reconnected to; the pause before that is not counted.
 */
import { tmpdir } from 'node:os'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import type { ClientWatcher } from './load/client.ts'
import { Publisher } from './load/publisher.ts'
import { microseconds } from './load/stopwatch.ts'
import { Subscriber } from './load/subscriber.ts'
import { aedesRedis } from './peers/aedes.ts'
import type { Peer, RunningBroker } from './peers/peer.ts'
import { sluicemq, sluicemqRedis } from './peers/sluicemq.ts'

const { values: args } = parseArgs({
  options: {
    peers: { type: 'string', default: 'sluicemq-redis,aedes-redis' },
    messages: { type: 'string', default: '100000' },
    'limit-seconds': { type: 'string', default: '60' },
    appendfsync: { type: 'string', default: 'always' },
    'data-root': { type: 'string', default: tmpdir() },
  },
})
const wanted = Number(args.messages)
const limitMicros = Number(args['limit-seconds']) * 1e6
const appendfsync = args.appendfsync === 'no' ? 'no' : 'always'
/** No message for this long: the broker sends no more on this connection. */
const STALLED_MICROS = 500_000
const TOPIC = 'backlog/device/telemetry'

function client(port: number, clientId: string, clean: boolean) {
  const facts = { host: '127.0.0.1', port, transport: 'tcp' as const, version: 4 as const, keepAliveSeconds: 0 }
  return { ...facts, clientId, clean, receiveMaximum: 0 }
}

/** Resolves when the client is ready, and hears of its end. */
function watched<T>(make: (watcher: ClientWatcher) => T): Promise<T> {
  return new Promise((resolve, reject) => {
    const made = make({ ready: () => resolve(made), failed: (reason) => reject(new Error(reason)) })
  })
}

const subscriber = (port: number, watcher: ClientWatcher): Subscriber =>
  new Subscriber({ ...client(port, 'away', false), topicFilter: 'backlog/#', qos: 1 }, watcher)

async function fill(port: number): Promise<void> {
  const options = { topics: [TOPIC], qos: 1 as const, payloadBytes: 16, userProperties: 0, window: 100 }
  const publisher = await watched(
    (watcher) => new Publisher({ ...client(port, 'publisher', true), ...options }, watcher),
  )
  publisher.flood()
  while (publisher.acknowledgedCount < wanted) await pause(5)
  publisher.close()
}

async function drain(port: number): Promise<{ received: number; seconds: number; connections: number }> {
  let received = 0
  let micros = 0
  let connections = 0
  while (received < wanted && micros < limitMicros) {
    connections++
    const from = microseconds()
    let last = from
    const reader = subscriber(port, { ready: () => {}, failed: () => {} })
    for (let seen = 0; received + seen < wanted && last - from + micros < limitMicros; ) {
      await pause(2)
      const now = microseconds()
      if (reader.receivedCount > seen) {
        seen = reader.receivedCount
        last = now
      } else if (now - last > STALLED_MICROS) break
    }
    received += reader.receivedCount
    micros += last - from
    // Acknowledgements are on their way.
    await pause(200)
    reader.close()
    await pause(100)
    if (last === from) break
  }
  return { received, seconds: micros / 1e6, connections }
}

async function measure(peer: Peer): Promise<void> {
  const broker: RunningBroker = await peer.start({
    dataRoot: args['data-root'],
    transport: 'tcp',
    redis: { appendfsync, nodes: 1 },
  })
  try {
    const first = await watched((watcher) => subscriber(broker.port, watcher))
    first.close()
    await pause(200)
    await fill(broker.port)
    const { received, seconds, connections } = await drain(broker.port)
    const messagesPerSecond = Math.round(received / seconds)
    console.log(
      JSON.stringify({
        bench: 'backlog',
        broker: peer.name,
        waiting: wanted,
        received,
        seconds,
        connections,
        messagesPerSecond,
      }),
    )
  } finally {
    await broker.stop()
  }
}

const peers = [sluicemqRedis, aedesRedis, sluicemq]
for (const name of args.peers.split(',')) {
  const peer = peers.find((each) => each.name === name)
  if (peer === undefined) throw new Error(`no broker ${name}: ${peers.map((each) => each.name).join(', ')}`)
  await measure(peer)
}
