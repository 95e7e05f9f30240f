import type { AuthenticationExchange, AuthenticationMethod, AuthenticationStep } from '../authenticator.ts'
import { SluiceError } from '../errors.ts'
import { type AuthPacket, encodeAuth } from '../wire/auth.ts'
import type { ConnectPacket } from '../wire/connect.ts'
import { protocolError } from '../wire/malformed.ts'
import type { Properties } from '../wire/properties.ts'
import type { Connection } from './connection.ts'

const SUCCESS = 0x00
const CONTINUE = 0x18
const RE_AUTHENTICATE = 0x19

/**
 * Enhanced authentication of one connection ([v5 4.12]): made when CONNECT names an Authentication Method, and never
 * otherwise, so that a client without a method is never sent AUTH [v5 MQTT-4.12.0-6].
 *
 *     idle ──CONNECT, AUTH 0x19──▶ deciding ──continue──▶ asked ──AUTH 0x18──▶ deciding
 *       ▲                            │ │                    └──time is up──▶ refused
 *       └──────────success───────────┘ └──refused, error──▶ the connection ends
 *
 * Before CONNACK nothing else is handled while the method decides; on a connection that stands, other packets go on as
 * before ([v5 4.12.1]).
 */
export class EnhancedAuth {
  readonly #c: Connection
  readonly #method: AuthenticationMethod
  readonly #password: Buffer | undefined
  #state: 'idle' | 'deciding' | 'asked' = 'idle'
  #exchange: AuthenticationExchange | null = null
  #cancelDeadline: (() => void) | null = null
  /** What follows when CONNECT is authenticated. Its argument belongs into CONNACK. */
  readonly #accepted: (properties: Properties) => void

  constructor(
    connection: Connection,
    method: AuthenticationMethod,
    packet: ConnectPacket,
    accepted: (properties: Properties) => void,
  ) {
    this.#c = connection
    this.#method = method
    this.#password = packet.password
    this.#accepted = accepted
  }

  /** CONNECT: the connection is held, and stays so until it is the client's turn. */
  begin(data: Buffer | undefined): void {
    this.#start(data ?? null)
  }

  /** AUTH from the client. @throws SluiceError protocol_error */
  received({ reasonCode, properties }: AuthPacket): void {
    // [v5 MQTT-4.12.0-5], [v5 MQTT-4.12.1-1]
    if (properties!.authenticationMethod !== this.#method.name)
      throw protocolError('AUTH names another Authentication Method than CONNECT')
    const data = properties!.authenticationData ?? null
    if (reasonCode === RE_AUTHENTICATE) {
      if (this.#c.state !== 'connected') throw protocolError('re-authentication before CONNACK [v5 MQTT-4.12.1-1]')
      if (this.#state !== 'idle') throw protocolError('re-authentication while one is under way')
      this.#start(data)
    } else {
      if (this.#state !== 'asked') throw protocolError('AUTH that was not asked for')
      if (this.#c.state === 'connecting') this.#c.hold()
      this.#step(data)
    }
  }

  /** The connection is closed. */
  close(): void {
    this.#cancelDeadline?.()
    this.#cancelDeadline = null
  }

  #start(data: Buffer | null): void {
    const { core, clientId, userName, stream } = this.#c
    const { protocol, address } = stream.peer
    this.#cancelDeadline = core.clock.after(core.config.limits.connectTimeoutMs, () => this.#timeIsUp())
    try {
      this.#exchange = this.#method.start({ clientId, userName, password: this.#password, protocol, address })
    } catch (error) {
      this.#failed(error)
      return
    }
    this.#step(data)
  }

  #step(data: Buffer | null): void {
    this.#state = 'deciding'
    try {
      const step = this.#exchange!.step(data)
      if (!('then' in step)) this.#decided(step)
      else step.then((decision) => this.#decided(decision)).catch((error: unknown) => this.#failed(error))
    } catch (error) {
      this.#failed(error)
    }
  }

  #decided(step: AuthenticationStep): void {
    const c = this.#c
    if (c.state === 'closed') return
    if (step.kind === 'continue') {
      this.#state = 'asked'
      this.#send(CONTINUE, step.data)
      if (c.state === 'connecting') c.release()
      return
    }
    this.close()
    this.#state = 'idle'
    this.#exchange = null
    if (step.kind === 'refused') this.#refuse(step.reason)
    else if (c.state === 'connecting') this.#connected(step.userName, step.data)
    // What the client may do, and what its messages say about their origin, was settled for the user that connected.
    else if (step.userName !== c.userName) this.#refuse('re-authentication as another user')
    else this.#send(SUCCESS, step.data)
  }

  #connected(userName: string, data: Buffer | null): void {
    this.#c.userName = userName
    this.#c.authenticated = true
    this.#accepted(this.#properties(data))
  }

  /** [v5 MQTT-4.12.0-4], [v5 MQTT-4.12.1-2]. The client is not told why. */
  #refuse(reason: string): void {
    const c = this.#c
    c.core.hooks.failed(c, new SluiceError('not_authorized', reason))
    if (c.state === 'connected') c.disconnect(0x87, 're-authentication failed', 'not_authorized')
    else {
      c.refuse(0x87, `authentication failed: ${reason}`, 'not_authorized')
      c.release()
    }
  }

  #failed(error: unknown): void {
    const c = this.#c
    if (c.state === 'closed') return
    const connecting = c.state === 'connecting'
    c.fail(error)
    if (connecting) c.release()
  }

  #timeIsUp(): void {
    const c = this.#c
    const message = 'the exchange of AUTH packets was not finished in time'
    if (c.state === 'connected') c.disconnect(0x87, message, 'connect_timeout')
    else c.fail(new SluiceError('connect_timeout', message))
  }

  #send(reasonCode: number, data: Buffer | null): void {
    const packet = encodeAuth(reasonCode, this.#properties(data))
    // [v5 MQTT-3.1.2-24]: an exchange that cannot be spoken cannot succeed.
    if (packet.length > this.#c.maximumPacketSize)
      this.#c.fail(new SluiceError('packet_too_large', 'AUTH is larger than the Maximum Packet Size of the client'))
    else this.#c.out.write(packet)
  }

  /** [v5 MQTT-4.12.0-5] */
  #properties(data: Buffer | null): Properties {
    const properties: Properties = { authenticationMethod: this.#method.name }
    if (data !== null) properties.authenticationData = data
    return properties
  }
}
