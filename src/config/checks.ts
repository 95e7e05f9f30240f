/** Rules that concern several settings at once. */
import { isIPv4, isIPv6 } from 'node:net'
import { prepare } from '../base/scram-keys.ts'
import { compileRules } from '../bridge/rule.ts'
import type { Config } from './schema.ts'

type Where = (path: readonly PropertyKey[]) => string

/** One line per broken rule; empty when the settings fit together. */
export function checkTogether(config: Config, where: Where): string[] {
  const problems: string[] = []
  const problem = (path: PropertyKey[], text: string): void => {
    problems.push(`${where(path)}${text}`)
  }
  const users = Object.keys(config.authentication.scram.users)
  if (!isLoopback(config.host) && !config.allowAnonymous && users.length === 0) {
    problem(
      ['host'],
      `host: ${config.host} can be reached from the network, and clients need no password. Say allowAnonymous: true ` +
        '(--allow-anonymous, SLUICEMQ_ALLOW_ANONYMOUS=true) if that is meant, or listen on 127.0.0.1',
    )
  }
  for (const name of users) {
    const same = users.find((other) => other !== name && prepare(other) === prepare(name))
    if (prepare(name) === null || same !== undefined)
      problem(
        ['authentication', 'scram', 'users', name],
        `authentication.scram.users.${name}: ${same === undefined ? 'is no user name' : `is the same as ${same}`} (RFC 4013)`,
      )
  }
  if (config.mqttPort === config.httpPort && config.mqttPort !== 0) {
    problem(['httpPort'], `httpPort: ${config.httpPort} is the mqttPort too; choose two ports`)
  }
  const { tls } = config
  if (tls !== undefined && tls.port !== 0 && (tls.port === config.mqttPort || tls.port === config.httpPort)) {
    const other = tls.port === config.mqttPort ? 'mqttPort' : 'httpPort'
    problem(['tls', 'port'], `tls.port: ${tls.port} is the ${other} too; choose two ports`)
  }
  if (tls?.requestCertificate === true && tls.caFile === undefined)
    problem(['tls', 'requestCertificate'], 'tls.caFile: is missing; requestCertificate needs it')
  if (config.store === 'redis' && config.redisUrl === undefined && config.redis.sentinels.length === 0) {
    problem(['store'], 'redisUrl: is missing; store: redis needs it (--redis-url redis://127.0.0.1:6379)')
  }
  for (const [i, rule] of config.bridge.entries()) {
    try {
      compileRules([rule])
    } catch (error) {
      const message = (error as Error).message.replace('bridge[0]', `bridge[${i}]`)
      const key = /^bridge\[\d+\]\.(\w+)/.exec(message)?.[1]
      problem(key === undefined ? ['bridge', i] : ['bridge', i, key], message)
    }
  }
  if (problems.length === 0) {
    try {
      compileRules(config.bridge)
    } catch (error) {
      problem(['bridge'], (error as Error).message)
    }
  }
  for (const [name, queue] of Object.entries(config.queues)) {
    const { minMs, maxMs } = queue.backoff
    if (minMs > maxMs) {
      problem(
        ['queues', name, 'backoff', 'minMs'],
        `queues.${name}.backoff.minMs: ${minMs} is more than maxMs (${maxMs})`,
      )
    }
    const { whenFull, overflowQueue } = queue.limits
    if ((whenFull === 'overflow') !== (overflowQueue !== undefined) || overflowQueue === name) {
      const text = overflowQueue === name ? 'a queue cannot take its own overflow' : 'goes with whenFull: overflow'
      problem(['queues', name, 'limits'], `queues.${name}.limits.overflowQueue: ${text}`)
    }
    if (queue.redisWorkers.enabled && config.store !== 'redis') {
      problem(['queues', name, 'redisWorkers', 'enabled'], `queues.${name}.redisWorkers.enabled: needs store: redis`)
    }
    if (queue.deadLetterQueue === name) {
      problem(
        ['queues', name, 'deadLetterQueue'],
        `queues.${name}.deadLetterQueue: a queue cannot be its own dead-letter queue`,
      )
    }
  }
  return problems
}

/** True for addresses only this machine can reach. Other host names are not looked up and count as reachable. */
export function isLoopback(host: string): boolean {
  const bare = host.toLowerCase()
  if (bare === 'localhost') return true
  if (isIPv4(bare)) return bare.startsWith('127.')
  return isIPv6(bare) && (bare === '::1' || bare.startsWith('::ffff:127.'))
}
