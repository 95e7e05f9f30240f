import { SluiceError } from '../errors.ts'
import { malformed } from './malformed.ts'
import { checkUtf8, isMqttString } from './utf8.ts'

const SLASH = 0x2f
const PLUS = 0x2b
const HASH = 0x23
const DOLLAR = 0x24

/**
 * Refuses bytes that are no Topic Name: not UTF-8 as MQTT allows it, empty [v5 MQTT-4.7.3-1] [v3 MQTT-4.7.3-1], or with a wildcard
 * [v5 MQTT-3.3.2-2] [v3 MQTT-3.3.2-2]. For the hot path: one pass, allocates nothing.
 *
 * @throws SluiceError malformed_packet (not UTF-8) or topic_name_invalid (empty, wildcard)
 */
export function checkTopicName(buf: Uint8Array, start: number, end: number): void {
  if (start === end) throw topicNameInvalid('the Topic Name is empty')
  for (let pos = start; pos < end; pos++) {
    const byte = buf[pos]!
    if (byte > 0x7f || byte === 0 || byte === PLUS || byte === HASH) {
      checkTopicNameSlowly(buf, pos, end)
      return
    }
  }
}

/** From the first byte that needs a closer look on. A string that is not UTF-8 is refused as such, wildcard or not. */
function checkTopicNameSlowly(buf: Uint8Array, start: number, end: number): void {
  if (!checkUtf8(buf, start, end)) throw malformed('the Topic Name is not a valid UTF-8 string')
  for (let pos = start; pos < end; pos++) {
    if (buf[pos] === PLUS || buf[pos] === HASH)
      throw topicNameInvalid(`the Topic Name contains the wildcard ${buf[pos] === PLUS ? '+' : '#'}`)
  }
}

function topicNameInvalid(message: string): SluiceError {
  return new SluiceError('topic_name_invalid', message)
}

/** True when the string can be sent as a Topic Name: not empty, no wildcard, UTF-8 of at most 65,535 bytes without U+0000. */
export function isTopicName(topic: string): boolean {
  return topic.length > 0 && !topic.includes('+') && !topic.includes('#') && isMqttString(topic)
}

/**
 * True when the string is a Topic Filter: not empty [v5 MQTT-4.7.3-1], `#` alone in the last level [v5 MQTT-4.7.1-1] [v3 MQTT-4.7.1-2],
 * `+` alone in its level [v5 MQTT-4.7.1-2] [v3 MQTT-4.7.1-3], and, when it begins with `$share/`, a complete Shared Subscription.
 */
export function isTopicFilter(filter: string): boolean {
  return isPlainFilter(filter) && (!isShared(filter) || parseShare(filter) !== null)
}

/** `isTopicFilter` without the meaning of `$share/`, which MQTT 3.1 and 3.1.1 do not know. */
export function isPlainFilter(filter: string): boolean {
  if (filter.length === 0 || !isMqttString(filter)) return false
  const last = filter.length - 1
  for (let i = 0; i <= last; i++) {
    const unit = filter.charCodeAt(i)
    if (unit !== PLUS && unit !== HASH) continue
    if (i > 0 && filter.charCodeAt(i - 1) !== SLASH) return false
    if (unit === HASH ? i !== last : i !== last && filter.charCodeAt(i + 1) !== SLASH) return false
  }
  return true
}

const SHARE = '$share/'

/** True when the filter asks for a Shared Subscription, well-formed or not. */
export function isShared(filter: string): boolean {
  return filter.startsWith(SHARE)
}

/** The two parts of a Shared Subscription's Topic Filter. */
export interface Share {
  shareName: string
  topicFilter: string
}

/**
 * Takes `$share/<ShareName>/<Topic Filter>` apart. Null when the filter is not shared, or breaks a rule: the ShareName has at least one
 * character and none of `/`, `+`, `#` [v5 MQTT-4.8.2-1], and a `/` and a valid Topic Filter follow it [v5 MQTT-4.8.2-2].
 */
export function parseShare(filter: string): Share | null {
  if (!isShared(filter)) return null
  const slash = filter.indexOf('/', SHARE.length)
  if (slash <= SHARE.length) return null
  const shareName = filter.slice(SHARE.length, slash)
  const topicFilter = filter.slice(slash + 1)
  if (shareName.includes('+') || shareName.includes('#') || !isPlainFilter(topicFilter)) return null
  return { shareName, topicFilter }
}

const QUEUE = '$queue/'

/** True when the filter asks for messages of a work queue. */
export function isQueueFilter(filter: string): boolean {
  return filter.startsWith(QUEUE)
}

/** The queue's name in `$queue/<name>`; null: the filter is another, or names nothing. */
export function parseQueueFilter(filter: string): string | null {
  return isQueueFilter(filter) && filter.length > QUEUE.length ? filter.slice(QUEUE.length) : null
}

/** The levels of a Topic Name or Filter; empty levels count (`/a` has two). */
export function splitLevels(topic: string): string[] {
  return topic.split('/')
}

/** How many levels `splitLevels` would give, without making them. */
export function countLevels(topic: string): number {
  let count = 1
  for (let i = topic.indexOf('/'); i !== -1; i = topic.indexOf('/', i + 1)) count++
  return count
}

/** `countLevels` of the bytes of a Topic Name. */
export function countLevelBytes(buf: Uint8Array, start: number, end: number): number {
  let count = 1
  for (let pos = start; pos < end; pos++) if (buf[pos] === SLASH) count++
  return count
}

/**
 * True when the Topic Name matches the Topic Filter (without its `$share/` part). Both must be valid. A filter that begins with a wildcard
 * does not match a topic that begins with `$` [v5 MQTT-4.7.2-1] [v3 MQTT-4.7.2-1]. `a/#` matches `a` too (section 4.7.1.2).
 *
 * The plain statement of the rule, against which the router's tree is tested; it allocates nothing.
 */
export function matches(filter: string, topic: string): boolean {
  let f = 0
  let t = 0
  if (topic.charCodeAt(0) === DOLLAR && (filter.charCodeAt(0) === PLUS || filter.charCodeAt(0) === HASH)) return false
  for (;;) {
    const unit = filter.charCodeAt(f)
    if (unit === HASH) return true
    if (unit === PLUS) {
      f += 1
      while (t < topic.length && topic.charCodeAt(t) !== SLASH) t++
    } else {
      while (f < filter.length && filter.charCodeAt(f) !== SLASH) {
        if (t >= topic.length || filter.charCodeAt(f) !== topic.charCodeAt(t)) return false
        f++
        t++
      }
    }
    if (t < topic.length && topic.charCodeAt(t) !== SLASH) return false
    // Both stand at the end of a level.
    if (f === filter.length) return t === topic.length
    if (t === topic.length) return f === filter.length - 2 && filter.charCodeAt(f + 1) === HASH
    f++
    t++
  }
}

const WORKERS = '$workers/'
const HEARTBEAT = '/heartbeat'

/** The worker that says by a PUBLISH to this topic that it is alive: `$workers/{id}/heartbeat`, the id percent-encoded. Null: none. */
export function parseHeartbeatTopic(topic: string): string | null {
  if (!topic.startsWith(WORKERS) || !topic.endsWith(HEARTBEAT)) return null
  const level = topic.slice(WORKERS.length, -HEARTBEAT.length)
  if (level === '' || level.includes('/')) return null
  try {
    return decodeURIComponent(level)
  } catch {
    return null
  }
}

export function heartbeatTopic(workerId: string): string {
  return `${WORKERS}${encodeURIComponent(workerId)}${HEARTBEAT}`
}

/** Where the broker tells the worker what to do. Only the broker publishes there. */
export function commandTopic(workerId: string): string {
  return `${WORKERS}${encodeURIComponent(workerId)}/command`
}
