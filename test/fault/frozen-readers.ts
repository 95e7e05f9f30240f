/**
 * Many readers that read nothing, under publishing at full speed: the broker's memory stays under `limits.memoryBytesMax`,
 * clients that read go on, and in the end the broker is as it was.
 */
import fs from 'node:fs'
import net from 'node:net'
import { BrokerProcess } from '../support/broker-process.ts'
import { RawClient } from '../support/raw-client.ts'
import { encodeRawConnect, encodeRawPublish, encodeRawSubscribe } from '../support/raw-packets.ts'

export interface FrozenReadersOptions {
  readonly readers: number
  readonly seconds: number
  readonly memoryBytesMax: number
  readonly payloadBytes: number
  /** QoS of the readers' subscriptions and of the flood. */
  readonly qos: 0 | 1
  readonly report: (line: string) => void
}

export interface FrozenReadersAccount {
  /** Highest memory of the broker's own while the flood lasted, mapped files not counted. */
  readonly highestBytes: number
  /** Highest level of `sluicemq_memory_level` that was seen. */
  readonly highestLevel: number
  /** Frozen readers whose connection the broker closed. */
  readonly closed: number
  /** Messages of the flood. */
  readonly published: number
  readonly dropped: Readonly<Record<string, number>>
  /** A client that reads, with 50 messages a second beside the flood. */
  readonly healthy: { readonly sent: number; readonly received: number; readonly p99Ms: number }
  /** A new client could connect when the flood was over. */
  readonly open: boolean
  /** Bytes that waited for clients when the flood was over and the frozen readers gone. */
  readonly heldAfterwards: number
}

const HEALTHY_EVERY_MS = 20
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

export async function runFrozenReaders(options: FrozenReadersOptions): Promise<FrozenReadersAccount> {
  const limits = { memoryBytesMax: options.memoryBytesMax, connectsPerSecondMax: 0 }
  const broker = await BrokerProcess.start({ config: { limits, log: { level: 'error' } }, store: 'memory' })
  try {
    return await underLoad(broker, options)
  } finally {
    await broker.stop()
  }
}

async function underLoad(broker: BrokerProcess, options: FrozenReadersOptions): Promise<FrozenReadersAccount> {
  const { readers, seconds, report } = options
  const frozen = await freeze(broker, options)
  report(`${readers} frozen readers are there; ${mib(ownBytes(broker.pid))} MiB`)
  const healthy = await healthyPair(broker)
  let highestBytes = 0
  let highestLevel = 0
  let running = true
  const watching = (async () => {
    for (let round = 0; running; round++) {
      highestBytes = Math.max(highestBytes, ownBytes(broker.pid))
      if (round % 5 === 0)
        highestLevel = Math.max(highestLevel, (await metrics(broker)).get('sluicemq_memory_level') ?? 0)
      if (round % 40 === 39) {
        const seen = await metrics(broker)
        const [level, held] = ['sluicemq_memory_level', 'sluicemq_unsent_bytes'].map((name) => seen.get(name) ?? 0)
        report(`level ${level}, ${mib(held!)} MiB wait, ${mib(ownBytes(broker.pid))} MiB in all`)
      }
      await sleep(50)
    }
  })()
  const published = await flood(broker, options, seconds * 1000)
  running = false
  await watching
  const closed = (await metrics(broker)).get('sluicemq_slow_readers_total{disconnected="true"}') ?? 0
  for (const socket of frozen) socket.destroy()
  const { sent, received, latenciesMs } = await healthy.stop()
  const until = performance.now() + 10_000
  const held = async (): Promise<number> => (await metrics(broker)).get('sluicemq_unsent_bytes') ?? -1
  while ((await held()) > 0 && performance.now() < until) await sleep(100)
  const open = await RawClient.connected(broker.mqtt, { clientId: 'late' }).then(
    () => true,
    () => false,
  )
  const dropped: Record<string, number> = {}
  for (const [name, value] of await metrics(broker)) {
    const cause = /^sluicemq_messages_dropped_total\{cause="(\w+)"\}$/.exec(name)?.[1]
    if (cause !== undefined && value > 0) dropped[cause] = value
  }
  latenciesMs.sort((a, b) => a - b)
  const p99Ms = latenciesMs[Math.floor(latenciesMs.length * 0.99)] ?? Number.NaN
  const heldAfterwards = await held()
  return {
    highestBytes,
    highestLevel,
    closed,
    published,
    dropped,
    healthy: { sent, received, p99Ms },
    open,
    heldAfterwards,
  }
}

/** Connections that subscribe and then read nothing more. */
async function freeze(broker: BrokerProcess, { readers, qos }: FrozenReadersOptions): Promise<net.Socket[]> {
  const sockets: net.Socket[] = []
  const one = (i: number): Promise<net.Socket> =>
    new Promise((resolve, reject) => {
      const socket = net.connect({ ...broker.mqtt, noDelay: true })
      socket.on('error', reject)
      let bytes = 0
      socket.on('data', (data) => {
        bytes += data.length
        // CONNACK of four bytes, SUBACK of five.
        if (bytes < 9) return
        socket.pause()
        socket.off('error', reject)
        socket.on('error', () => {})
        resolve(socket)
      })
      socket.write(
        Buffer.concat([
          encodeRawConnect({ clientId: `frozen-${i}` }),
          encodeRawSubscribe(1, [{ topicFilter: 'flood', options: qos }]),
        ]),
      )
    })
  for (let from = 0; from < readers; from += 200)
    sockets.push(...(await Promise.all(Array.from({ length: Math.min(200, readers - from) }, (_, i) => one(from + i)))))
  return sockets
}

/** A publisher and a reader that do nothing wrong. */
async function healthyPair(broker: BrokerProcess) {
  const [publisher, reader] = await Promise.all([
    RawClient.connected(broker.mqtt, { clientId: 'healthy-publisher' }),
    RawClient.connected(broker.mqtt, { clientId: 'healthy-reader' }),
  ])
  await reader.subscribe('healthy')
  const latenciesMs: number[] = []
  reader.onPacket = (packet) =>
    packet.type === 'publish' && latenciesMs.push(performance.now() - Number(packet.payload)) > 0
  let sent = 0
  const timer = setInterval(() => {
    publisher.startPublish({ topic: 'healthy', payload: String(performance.now()) })
    sent++
  }, HEALTHY_EVERY_MS)
  const stop = async () => {
    clearInterval(timer)
    await publisher.ping()
    const until = performance.now() + 10_000
    while (latenciesMs.length < sent && performance.now() < until) await sleep(20)
    return { sent, received: latenciesMs.length, latenciesMs }
  }
  return { stop }
}

/** Publishes as fast as the broker reads. */
async function flood(broker: BrokerProcess, { qos, payloadBytes }: FrozenReadersOptions, ms: number): Promise<number> {
  const publisher = await RawClient.connected(broker.mqtt, { clientId: 'flood-publisher' })
  let acknowledged = 0
  publisher.onPacket = (packet) => packet.type === 'puback' && ++acknowledged > 0
  let sent = 0
  for (const until = performance.now() + ms; performance.now() < until && !publisher.isClosed; ) {
    if (sent - acknowledged >= 500 && qos === 1) {
      await sleep(1)
      continue
    }
    const packetId = (sent % 65_535) + 1
    sent++
    const free = publisher.send(
      encodeRawPublish({ topic: 'flood', qos, packetId, payload: Buffer.alloc(payloadBytes) }),
    )
    if (!free) await Promise.race([publisher.drained(), sleep(Math.max(0, until - performance.now()))])
    else if (sent % 20 === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  publisher.reset()
  return sent
}

async function metrics(broker: BrokerProcess): Promise<Map<string, number>> {
  const text = await (await fetch(`${broker.http}/metrics`)).text()
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.split(' ').at(-1))]))
}

/** Resident memory of a process without the pages of mapped files, in bytes. */
export function ownBytes(pid: number): number {
  const [, resident = 0, shared = 0] = fs.readFileSync(`/proc/${pid}/statm`, 'latin1').split(' ').map(Number)
  return (resident - shared) * 4096
}

export const mib = (bytes: number): number => Math.round(bytes / (1024 * 1024))
