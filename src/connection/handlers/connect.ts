import { SluiceError } from '../../errors.ts'
import { encodeMessage, NO_EXPIRY } from '../../router/message.ts'
import { type ConnectPacket, decodeConnect } from '../../wire/connect.ts'
import { type Properties, WILL_PROPERTIES } from '../../wire/properties.ts'
import { encodePropertyBytes } from '../../wire/property-bytes.ts'
import { countLevels } from '../../wire/topic.ts'
import { answerVersion } from '../../wire/versions.ts'
import { announceLimits, encodeAnswer, expiryOf } from '../connack-answer.ts'
import type { Connection } from '../connection.ts'
import { EnhancedAuth } from '../enhanced-auth.ts'
import { refuse } from '../goodbye.ts'
import type { Mqtt3Limits, Refusal } from '../hooks.ts'
import { becomeUser, checkOwner, identityOf, takesOver } from '../identity.ts'
import { resume } from '../permission.ts'
import { reservedTopic } from '../reserved-topics.ts'
import { joinQueue } from './subscribe.ts'

/**
 * CONNECT ([v5 3.1] [v3 3.1]): checks, permission, session, will, then CONNACK once all that has to be durable is.
 */
export function handleConnect(c: Connection, buf: Buffer, start: number, end: number): void {
  c.core.counters.connects++
  const packet = decode(c, buf, start, end)
  c.version = packet.version
  c.version5 = packet.version === 5
  c.connecting()
  c.hold()
  ask(c, c.core.hooks.preConnect, packet, (refusal) => {
    // Aedes' preConnect refuses without a word.
    if (refusal !== null) {
      c.close(refusal.message, 'not_authorized', false)
      if (refusal.error !== undefined) c.core.hooks.failed(c, refusal.error)
    }
    if (c.state === 'closed') return c.release()
    try {
      adopt(c, packet)
      check(c, packet)
      // [v5 MQTT-3.1.3-6] [v3 MQTT-3.1.3-6]
      if (c.clientId === '') c.clientId = c.core.sessions.newClientId()
      c.introduced = true
      authenticate(c, packet, (answer) => claim(c, packet, answer))
    } catch (error) {
      if (error instanceof Redirect)
        c.refuse(error.reasonCode, error.message, 'server_unavailable', { serverReference: error.serverReference })
      else c.fail(error)
      c.release()
    }
  })
}

/** Calls `accepted`, with what CONNACK has to say about it, or refuses the client. */
function authenticate(c: Connection, packet: ConnectPacket, accepted: (answer: Properties) => void): void {
  const { authenticationMethod: name, authenticationData: data } = packet.properties ?? {}
  const { hooks, authenticationMethods, config } = c.core
  if (name !== undefined) {
    const method = authenticationMethods.get(name)
    // [v5 MQTT-4.12.0-1]
    if (method === undefined)
      throw new SluiceError('bad_authentication_method', `no authentication method "${name}" here`)
    c.enhancedAuth = new EnhancedAuth(c, method, packet, accepted)
    c.enhancedAuth.begin(data)
    return
  }
  const anonymous = hooks.authenticate === null
  if (anonymous && !config.allowAnonymous && Object.keys(config.authentication.scram.users).length > 0)
    throw new SluiceError('not_authorized', 'clients have to authenticate: allowAnonymous is false')
  ask(c, hooks.authenticate, packet, (denied) => {
    if (c.state === 'closed') return c.release()
    if (denied !== null) {
      const error = denied.error ?? new SluiceError('not_authorized', denied.message)
      refuse(c, denied.reasonCode, denied.message, 'not_authorized', null, error)
      return c.release()
    }
    c.authenticated = !anonymous
    accepted({})
  })
}

/** Every client is sent to another server ([v5 4.11]). */
class Redirect extends Error {
  readonly reasonCode: number
  readonly serverReference: string
  constructor(reasonCode: number, serverReference: string) {
    super(`use another server: ${serverReference}`)
    this.reasonCode = reasonCode
    this.serverReference = serverReference
  }
}

function ask(
  c: Connection,
  hook: ((c: Connection, packet: ConnectPacket, done: (refusal: Refusal | null) => void) => void) | null,
  packet: ConnectPacket,
  done: (refusal: Refusal | null) => void,
): void {
  if (hook === null) return done(null)
  let answered = false
  hook(c, packet, (refusal) => {
    if (answered) return
    answered = true
    done(refusal)
  })
}

function decode(c: Connection, buf: Buffer, start: number, end: number): ConnectPacket {
  try {
    return decodeConnect(buf, start, end)
  } catch (error) {
    // The answer is in the version the client asked for, or in the nearest one we speak.
    const version = answerVersion(buf, start, end)
    if (version !== null) {
      c.version = version
      c.version5 = version === 5
      c.connecting()
    }
    throw error
  }
}

/** Takes over what the packet says about the connection. */
function adopt(c: Connection, packet: ConnectPacket): void {
  const properties = packet.properties
  c.clientId = packet.clientId
  c.bridge = packet.bridge
  c.userName = packet.userName
  c.clean = packet.clean
  c.keepAliveSeconds = packet.keepAliveSeconds
  if (properties === null) return
  if (properties.maximumPacketSize !== undefined) c.maximumPacketSize = properties.maximumPacketSize
  c.problemInformation = properties.requestProblemInformation ?? true
}

/** @throws SluiceError what makes the packet unacceptable */
function check(c: Connection, packet: ConnectPacket): void {
  const { limits } = c
  const { drain } = c.core
  if (drain.state !== 'serving') {
    if (drain.serverReference !== null) throw new Redirect(0x9d, drain.serverReference)
    throw new SluiceError('server_unavailable', 'this node is being drained: connect to another')
  }
  const redirect = c.core.config.mqtt.redirect
  if (redirect !== undefined) throw new Redirect(redirect.permanent ? 0x9d : 0x9c, redirect.serverReference)
  if (packet.version < 5) checkMqtt3(packet, c.core.hooks.mqtt3)
  if (countLevels(packet.will?.topic ?? '') > limits.topicLevelsMax)
    throw new SluiceError('topic_name_invalid', `Will Topic of more than ${limits.topicLevelsMax} levels`)
  const reserved = reservedTopic(packet.will?.topic ?? '')
  if (reserved !== null) throw new SluiceError('not_authorized', reserved)
  c.core.gate.check(c, takesOver(c))
}

function checkMqtt3(packet: ConnectPacket, limits: Mqtt3Limits): void {
  // MQTT 3.1, CONNECT, Client Identifier
  if (packet.version === 3 && packet.clientId.length > limits.clientIdCharactersMax)
    throw new SluiceError('client_identifier_not_valid', 'identifier rejected')
  const { keepAliveSecondsMax } = limits
  const keepAlive = packet.keepAliveSeconds
  if (keepAliveSecondsMax > 0 && (keepAlive === 0 || keepAlive > keepAliveSecondsMax))
    throw new SluiceError('not_authorized', 'keep alive limit exceeded')
}

/** Where there are several nodes, the Client Identifier has to be this one's first. */
function claim(c: Connection, packet: ConnectPacket, answer: Properties): void {
  const { claims } = c.core.sessions
  const failed = (error: unknown): void => {
    c.fail(error)
    c.release()
  }
  try {
    becomeUser(c, packet)
  } catch (error) {
    return failed(error)
  }
  if (claims === null) return open(c, packet, answer)
  const go = (): void => {
    if (c.state === 'closed') return c.release()
    try {
      // What is known of the session may have come with it from another node.
      checkOwner(c)
      open(c, packet, answer)
    } catch (error) {
      failed(error)
    }
  }
  claims.obtain(c.clientId, identityOf(c), go, failed)
}

/** @param answer properties of CONNACK so far */
function open(c: Connection, packet: ConnectPacket, answer: Properties): void {
  const { core, limits } = c
  // [v5 MQTT-3.2.2-16]
  if (packet.clientId === '') answer.assignedClientIdentifier = c.clientId
  const expirySeconds = expiryOf(c, packet, answer)
  if (limits.keepAliveSecondsMax > 0 && c.version5) {
    // [v5 MQTT-3.2.2-21]
    if (c.keepAliveSeconds === 0 || c.keepAliveSeconds > limits.keepAliveSecondsMax) {
      c.keepAliveSeconds = limits.keepAliveSecondsMax
      answer.serverKeepAlive = c.keepAliveSeconds
    }
  }
  const opened = core.sessions.open(c, expirySeconds)
  const { session, present } = opened
  // A will whose delay runs: the client is back in time [v5 MQTT-3.1.3-9], or its session ended just now [v5 MQTT-3.1.2-8].
  if (present) core.wills.returned(c.clientId, core.sessions.nodeId)
  else core.wills.publish(c.clientId)
  if (packet.will !== null) setWill(c, packet)
  c.hasWill = packet.will !== null
  if (c.version5) announceLimits(c, packet, answer)
  const proceed = (): void => {
    const connack = encodeAnswer(c, present, answer)
    if (c.state !== 'closed' && connack === null)
      c.close('CONNACK is larger than the client takes', 'packet_too_large', false)
    if (c.state === 'closed' || connack === null) return c.release()
    c.out.write(connack)
    c.connected(session)
    session.delivery.attach(c)
    if (present) for (const subscription of session.subscriptions.values()) joinQueue(c, subscription)
    core.hooks.registered(c)
    core.hooks.connackSent(c, 0, present)
    core.events.emit('clientConnected', {
      clientId: c.clientId,
      userName: c.userName ?? null,
      address: c.stream.peer.address,
      protocol: c.stream.peer.protocol,
      version: c.version,
      sessionPresent: present,
    })
    core.hooks.ready(c, () => {
      if (c.state !== 'closed') session.delivery.wake()
      c.release()
    })
  }
  const settle = (durable: boolean): void => {
    if (!durable && packet.will === null) return proceed()
    const failed = (error: unknown): void => {
      c.fail(error instanceof SluiceError ? error : new SluiceError('store_unavailable', String(error)))
      c.release()
    }
    const committed = (): void => {
      const heard = opened.changed && core.nodes !== null ? core.nodes.heardSoon() : null
      if (opened.kept === null && heard === null) proceed()
      else Promise.all([opened.kept, heard]).then(proceed, failed)
    }
    core.commits.wait({
      committed,
      notCommitted: (error) => {
        // Will and session were taken back: what was there before is there again, what was new is not.
        c.hasWill = false
        if (!present) session.expirySeconds = 0
        failed(error)
      },
    })
  }
  if (!present || session.subscriptions.size === 0) settle(opened.durable)
  else resume(c, session, () => settle(true))
}

/** Keeps the will; its message is stamped with the time at which it is published. */
function setWill(c: Connection, packet: ConnectPacket): void {
  const will = packet.will!
  const { willDelayInterval = 0, ...properties } = will.properties ?? {}
  const now = c.core.clock.now()
  const userName = c.userName === undefined ? {} : { userName: c.userName }
  const message = encodeMessage({
    topic: will.topic,
    clientId: c.clientId,
    ...userName,
    qos: will.qos,
    retain: will.retain,
    time: now,
    properties: will.properties === null ? Buffer.alloc(0) : encodePropertyBytes(properties, WILL_PROPERTIES),
    payload: will.payload,
    expirySeconds: properties.messageExpiryInterval ?? NO_EXPIRY,
  })
  c.core.wills.set({
    clientId: c.clientId,
    message,
    qos: will.qos,
    retain: will.retain,
    delaySeconds: willDelayInterval,
    dueAt: 0,
    node: c.core.sessions.nodeId,
  })
}
