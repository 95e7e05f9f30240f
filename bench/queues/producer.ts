/** Puts messages in, as fast as they are taken or at a rate: each payload says when it was made, in 100 bytes. */
import { once } from 'node:events'
import net from 'node:net'
import { Queue as BullQueue } from 'bullmq'
import { Redis } from 'ioredis'
import { encodeConnect, encodePublish } from '../../src/wire/client-packets.ts'
import { nodeRequest } from '../../src/worker/request.ts'

const PAYLOAD_BYTES = 100
const BATCH = 100
/** Requests under way at a time. */
const AT_ONCE = 10

export type Put = (count: number) => Promise<void>

function payload(): string {
  return `${(Number(process.hrtime.bigint()) / 1000).toFixed(1)} `.padEnd(PAYLOAD_BYTES, 'x')
}

/** Runs `send` for batches of the count, some at a time. */
async function inBatches(count: number, send: (size: number) => Promise<unknown>): Promise<void> {
  let left = count
  const lane = async (): Promise<void> => {
    while (left > 0) {
      const size = Math.min(BATCH, left)
      left -= size
      await send(size)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, lane))
}

export interface Producer {
  put: Put
  /** One message, for loads at a rate. */
  one(): Promise<unknown>
  close(): Promise<void>
}

export function bullmqProducer(url: string, name: string): Producer {
  const connection = new Redis(url, { maxRetriesPerRequest: null })
  const queue = new BullQueue(name, { connection, defaultJobOptions: { removeOnComplete: true, attempts: 10 } })
  const jobs = (size: number) => Array.from({ length: size }, () => ({ name: 'job', data: { payload: payload() } }))
  return {
    put: (count) => inBatches(count, (size) => queue.addBulk(jobs(size))),
    one: () => queue.add('job', { payload: payload() }),
    close: async () => {
      await queue.close()
      connection.disconnect()
    },
  }
}

export function httpProducer(http: string, name: string): Producer {
  const request = nodeRequest()
  const { signal } = new AbortController()
  const send = async (size: number): Promise<void> => {
    const messages = Array.from({ length: size }, () => ({ payload: payload() }))
    const headers = { 'content-type': 'application/json' }
    const url = `${http}/api/v1/queues/${name}/messages`
    const { status } = await request(url, headers, JSON.stringify({ messages }), signal)
    if (status !== 201) throw new Error(`POST messages: HTTP ${status}`)
  }
  return { put: (count) => inBatches(count, send), one: () => send(1), close: async () => {} }
}

const PUBACK_BYTES = 4

/** A device that publishes with QoS 1 over one connection; each batch waits for its PUBACKs. */
export async function mqttProducer(host: string, port: number, topic: string): Promise<Producer> {
  const socket = net.connect({ host, port, noDelay: true })
  socket.write(encodeConnect({ version: 4, clientId: `producer-${topic}` }))
  await once(socket, 'data')
  let acknowledged = 0
  let bytes = 0
  let sent = 0
  let waiting: { until: number; resolve: () => void }[] = []
  socket.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    acknowledged = Math.floor(bytes / PUBACK_BYTES)
    const done = waiting.filter(({ until }) => until <= acknowledged)
    if (done.length === 0) return
    waiting = waiting.filter(({ until }) => until > acknowledged)
    for (const { resolve } of done) resolve()
  })
  const send = (size: number): Promise<void> => {
    const packets: Buffer[] = []
    for (let i = 0; i < size; i++) {
      const packetId = 1 + (sent++ % 65_535)
      packets.push(encodePublish(4, { topic, qos: 1, packetId, payload: Buffer.from(payload()) }))
    }
    socket.write(Buffer.concat(packets))
    const until = sent
    // PUBACKs come in the order of their packets.
    return new Promise((resolve) => waiting.push({ until, resolve }))
  }
  return {
    put: (count) => inBatches(count, send),
    one: () => send(1),
    close: async () => {
      socket.destroy()
    },
  }
}
