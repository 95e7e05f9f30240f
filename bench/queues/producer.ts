/** Puts messages in, as fast as they are taken or at a rate: each payload says when it was made, in 100 bytes. */
import { Queue as BullQueue } from 'bullmq'
import { Redis } from 'ioredis'
import mqtt from 'mqtt'

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
  const send = async (size: number): Promise<void> => {
    const messages = Array.from({ length: size }, () => ({ payload: payload() }))
    const response = await fetch(`${http}/api/v1/queues/${name}/messages`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ messages }),
    })
    await response.text()
    if (response.status !== 201) throw new Error(`POST messages: HTTP ${response.status}`)
  }
  return { put: (count) => inBatches(count, send), one: () => send(1), close: async () => {} }
}

export async function mqttProducer(url: string, topic: string): Promise<Producer> {
  const client = await mqtt.connectAsync(url, { protocolVersion: 5, properties: { receiveMaximum: 1000 } })
  const one = (): Promise<unknown> => client.publishAsync(topic, payload(), { qos: 1 })
  return {
    put: (count) => inBatches(count, (size) => Promise.all(Array.from({ length: size }, one))),
    one,
    close: () => client.endAsync(),
  }
}
