/**
 * One MQTT connection that comes back by itself, over the npm `mqtt` client.
 *
 * The client's stores live as long as the link, so what was sent and not acknowledged is sent again after each
 * reconnect, in order, before anything new. (The client's own `reconnect()` would replace the stores.)
 */
import mqtt from 'mqtt'
import type { QoS } from './account.ts'
import { type Backoff, backoffDelayMs, type Random } from './random.ts'

export type ProtocolVersion = 3 | 4 | 5

export interface LinkOptions {
  readonly url: string
  readonly clientId: string
  /** MQTT 3.1, 3.1.1 or 5. */
  readonly protocolVersion: ProtocolVersion
  readonly keepAliveSeconds: number
  readonly backoff: Backoff
  readonly random: Random
  readonly will?: { topic: string; payload: string; qos: QoS; retain: boolean }
  /** Everything owed from before has been sent again; publishing may go on. Called for each connection. */
  onUp(sessionPresent: boolean): void
  /** Called once for each connection that was up. */
  onDown(): void
  /** Returns before the acknowledgement is sent. */
  onMessage(topic: string, payload: Buffer): void
}

/** How a publish ended: `acknowledged` also stands for a QoS 0 message handed to the network. */
export type PublishOutcome = 'acknowledged' | 'refused'

const connectTimeoutMs = 10_000
const sessionExpirySeconds = 86_400

export class Link {
  readonly #client: mqtt.MqttClient
  readonly #options: LinkOptions
  #up = false
  #failures = 0
  #ended = false
  /** Connections made so far. */
  connections = 0
  /** What last went wrong on the way to a connection; null when nothing did. */
  lastError: Error | null = null

  constructor(options: LinkOptions) {
    this.#options = options
    this.#client = mqtt.connect(options.url, {
      ...protocolOptions(options.protocolVersion),
      clientId: options.clientId,
      clean: false,
      ...(options.protocolVersion === 5 ? { properties: { sessionExpiryInterval: sessionExpirySeconds } } : {}),
      ...(options.will === undefined ? {} : { will: { ...options.will, payload: Buffer.from(options.will.payload) } }),
      keepalive: options.keepAliveSeconds,
      connectTimeout: connectTimeoutMs,
      reconnectPeriod: this.#nextDelayMs(),
      reconnectOnConnackError: true,
      resubscribe: false,
      queueQoSZero: false,
      timerVariant: 'native',
    })
    this.#client.on('connect', (packet) => {
      this.#failures = 0
      this.#client.options.reconnectPeriod = this.#nextDelayMs()
      this.connections += 1
      this.lastError = null
      this.#up = true
      options.onUp(packet.sessionPresent)
    })
    this.#client.on('close', () => {
      // The client has armed its timer by now: this is the delay of the attempt after the coming one.
      this.#failures += 1
      this.#client.options.reconnectPeriod = this.#nextDelayMs()
      if (!this.#up) return
      this.#up = false
      if (!this.#ended) options.onDown()
    })
    this.#client.on('error', (error) => {
      this.lastError = error
    })
    this.#client.on('message', (topic, payload) => options.onMessage(topic, payload))
  }

  get up(): boolean {
    return this.#up && this.#client.connected
  }

  /** Call only while `up`. `done` is called once, possibly after several reconnects; never if the link ends first. */
  publish(topic: string, payload: string, qos: QoS, retain: boolean, done: (outcome: PublishOutcome) => void): void {
    this.#client.publish(topic, payload, { qos, retain }, (error) => {
      if (this.#ended && error) return
      done(error ? 'refused' : 'acknowledged')
    })
  }

  /** Resolves true when the broker granted the subscription, false when it did not or the connection went away. */
  subscribe(topicFilter: string, qos: QoS): Promise<boolean> {
    return new Promise((resolve) => {
      this.#client.subscribe(topicFilter, { qos }, (error, granted) => {
        resolve(!error && granted !== undefined && granted.every((grant) => grant.qos < 128))
      })
    })
  }

  /** Sends DISCONNECT, so that no will is published, and forgets what is still unacknowledged. */
  end(): Promise<void> {
    this.#ended = true
    this.#up = false
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.#client.stream?.destroy()
        resolve()
      }, 2_000)
      this.#client.end(!this.#client.connected, {}, () => {
        clearTimeout(timer)
        resolve()
      })
    })
  }

  #nextDelayMs(): number {
    return backoffDelayMs(this.#options.backoff, this.#failures, this.#options.random)
  }
}

/**
 * Makes the broker forget the session of a client identifier, by a clean connection. Resolves false when the broker
 * could not be reached.
 */
export function forgetSession(url: string, clientId: string, protocolVersion: ProtocolVersion): Promise<boolean> {
  return new Promise((resolve) => {
    const client = mqtt.connect(url, {
      ...protocolOptions(protocolVersion),
      clientId,
      clean: true,
      reconnectPeriod: 0,
      connectTimeout: connectTimeoutMs,
      timerVariant: 'native',
    })
    let accepted = false
    client.once('connect', () => {
      accepted = true
      client.end()
    })
    // A broker that is killed meanwhile may close without an error, or leave more than one.
    client.on('error', () => client.end(true))
    client.once('close', () => resolve(accepted))
  })
}

function protocolOptions(version: ProtocolVersion): {
  protocolVersion: ProtocolVersion
  protocolId: 'MQIsdp' | 'MQTT'
} {
  return { protocolVersion: version, protocolId: version === 3 ? 'MQIsdp' : 'MQTT' }
}
