/**
 * Topics on which only the broker speaks: `$SYS/…`, `$events/…`, and `$workers/…` but for heartbeats. Clients cannot publish there, so that nobody can
 * pretend to be the broker, and read there as far as `sys.readableBy` allows.
 */
import { isLoopback } from '../config/checks.ts'
import { parseHeartbeatTopic, parseShare } from '../wire/topic.ts'
import type { Connection } from './connection.ts'

const roots = ['$SYS', '$events']
const DOLLAR = 0x24

/** Why the client may not publish there, or null. */
export function reservedTopic(topic: string): string | null {
  if (topic.charCodeAt(0) !== DOLLAR) return null
  if (topic.startsWith('$workers/')) return parseHeartbeatTopic(topic) === null ? '$workers/ topic is reserved' : null
  const root = rootOf(topic)
  return root === null ? null : `${root}/ topic is reserved`
}

/** Whether the client may subscribe to the Topic Filter, shared or not, as far as it concerns these topics. */
export function mayRead(c: Connection, topicFilter: string): boolean {
  if (topicFilter.charCodeAt(0) !== DOLLAR) return true
  // A wildcard in the first level does not match them [v5 MQTT-4.7.2-1].
  if (rootOf(parseShare(topicFilter)?.topicFilter ?? topicFilter) === null) return true
  const { sys, host } = c.core.config
  const readableBy = sys.readableBy === 'auto' ? (isLoopback(host) ? 'anyone' : 'authenticated') : sys.readableBy
  return readableBy === 'anyone' || (readableBy === 'authenticated' && c.authenticated)
}

function rootOf(topic: string): string | null {
  return roots.find((root) => topic === root || (topic.startsWith(root) && topic[root.length] === '/')) ?? null
}
