import { RawClient, type Target } from '../support/raw-client.ts'
import type { Version } from '../support/raw-packets.ts'

const echoMs = 10_000
const pauseMs = 5

/**
 * Clients that do nothing wrong: one for each version publishes to itself, at every QoS in turn, and checks that each
 * message comes back once and unchanged, while others misbehave.
 */
export class Bystander {
  echoes = 0
  slowestMs = 0
  /** What it suffered, or null. */
  failure: string | null = null
  #running: Promise<void>[] = []
  #clients: RawClient[] = []
  #stopped = false

  async start(target: Target): Promise<void> {
    this.#stopped = false
    const versions: Version[] = [3, 4, 5]
    this.#clients = await Promise.all(
      // A name of 3.1 has 23 characters at most; nobody comes to this one by accident.
      versions.map((version) => RawClient.connected(target, { version, clientId: `innocent-bystander-${version}` })),
    )
    this.#running = this.#clients.map((client) => this.#converse(client))
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await Promise.all(this.#running)
    await Promise.all(this.#clients.map((client) => (client.isClosed ? undefined : client.disconnect())))
  }

  async #converse(client: RawClient): Promise<void> {
    const topic = `innocent-bystander/${client.version}/own-topic`
    try {
      client.autoAck = true
      await client.subscribe([topic, 2])
      for (let n = 0; !this.#stopped; n++) {
        const started = performance.now()
        const payload = `echo ${n}`
        const qos = n % 3
        client.startPublish({ topic, payload, qos })
        // Its own PUBLISH flow: PUBACK, or PUBREC and PUBCOMP.
        if (qos === 1) await client.expect('puback', () => true, echoMs)
        if (qos === 2) {
          const { packetId } = await client.expect('pubrec', () => true, echoMs)
          client.ack('pubrel', packetId)
          await client.expect('pubcomp', () => true, echoMs)
        }
        const echo = await client.expect('publish', () => true, echoMs)
        if (echo.payload.toString() !== payload || echo.qos !== qos)
          throw new Error(`expected "${payload}" at QoS ${qos}, got "${echo.payload}" at QoS ${echo.qos}`)
        if (client.takeAll('publish').length > 0) throw new Error(`"${payload}" came twice`)
        client.takeAll('pubrel')
        this.echoes++
        this.slowestMs = Math.max(this.slowestMs, performance.now() - started)
        await new Promise((resolve) => setTimeout(resolve, pauseMs))
      }
    } catch (error) {
      this.failure ??= `a bystander (level ${client.version}) was disturbed: ${(error as Error).message}`
    }
  }
}
