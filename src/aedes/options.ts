import type { AedesOptions } from 'aedes'
import type { Config, Limits } from '../config/schema.ts'
import type { Mqtt3Limits } from '../connection/hooks.ts'
import { SluiceError } from '../errors.ts'

/**
 * Aedes' options in our terms:
 *
 * | option                                   | becomes                                                                |
 * |------------------------------------------|------------------------------------------------------------------------|
 * | hooks, `id`, `heartbeatInterval`         | what they are: Aedes' class reads them                                 |
 * | `connectTimeout`                         | limits.connectTimeoutMs                                                |
 * | `drainTimeout` (0: never)                | limits.drainTimeoutMs                                                  |
 * | `maxTopicLevels` (1 to 100)              | limits.topicLevelsMax                                                  |
 * | `keepaliveLimit`                         | limits.keepAliveSecondsMax for MQTT 5; MQTT 3 is refused               |
 * | `maxInflightInbound`                     | limits.receiveMaximum for MQTT 5; MQTT 3 is closed                     |
 * | `maxClientsIdLength`                     | MQTT 3.1 is refused                                                    |
 * | `concurrency`, `queueLimit`              | nothing: no message waits for a slot; no packet is read before CONNACK |
 * | `decodeProtocol`, `trustProxy`, `trustedProxies` | nothing, as in Aedes 1.2                                       |
 * | `mq`, `persistence`                      | refused by `listen`: ours are built in                                 |
 */
export function limitsFor(options: AedesOptions, limits: Limits): Limits {
  const { connectTimeout, drainTimeout, maxTopicLevels, keepaliveLimit, maxInflightInbound } = options
  const changed: { -readonly [K in keyof Limits]: Limits[K] } = { ...limits }
  if (connectTimeout !== undefined) changed.connectTimeoutMs = connectTimeout
  if (drainTimeout !== undefined) changed.drainTimeoutMs = drainTimeout > 0 ? drainTimeout : Number.POSITIVE_INFINITY
  if (maxTopicLevels !== undefined) changed.topicLevelsMax = Math.min(Math.max(maxTopicLevels, 1), 100)
  if (keepaliveLimit !== undefined) changed.keepAliveSecondsMax = keepaliveLimit
  if (isCount(maxInflightInbound) && maxInflightInbound > 0)
    changed.receiveMaximum = Math.min(maxInflightInbound, 65_535)
  return changed
}

/** The config with the options in it. */
export function configFor(options: AedesOptions, config: Config): Config {
  return { ...config, limits: limitsFor(options, config.limits) }
}

/** Without an option there is the limit of MQTT 3.1 itself and no other. */
export function mqtt3LimitsFor(options: AedesOptions): Mqtt3Limits {
  const { maxInflightInbound, maxClientsIdLength = 23, keepaliveLimit = 0 } = options
  const unreleasedMax = isCount(maxInflightInbound) && maxInflightInbound > 0 ? maxInflightInbound : 65_535
  return { clientIdCharactersMax: maxClientsIdLength, keepAliveSecondsMax: keepaliveLimit, unreleasedMax }
}

/** @throws SluiceError config_invalid when an option asks for a part that is built in */
export function checkOptions(options: AedesOptions): void {
  if (options.persistence !== undefined)
    throw new SluiceError('config_invalid', 'persistence: the broker has its own; set `store` in its config')
  if (options.mq !== undefined)
    throw new SluiceError('config_invalid', 'mq: the broker has its own; use broker.subscribe and broker.publish')
}

function isCount(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0
}
