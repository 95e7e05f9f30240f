/** What one run of the load generator does, and its command line. */
import { parseArgs } from 'node:util'
import type { Transport } from './link.ts'
import type { QoS, Version } from './packets.ts'

/** The modes: `flood` sends as fast as QoS allows, `rate` sends by a clock, `hold` only connects. */
export type Mode = 'flood' | 'rate' | 'hold'

export interface LoadOptions {
  readonly mode: Mode
  readonly host: string
  readonly port: number
  /** Where subscribers and background connections connect: another node of the broker, or the same port. */
  readonly subscriberPort: number
  /** `websocket`: MQTT inside WebSocket messages (path /mqtt). `tls`: any certificate is accepted. */
  readonly transport: Transport
  readonly version: Version
  readonly publishers: number
  readonly subscribers: number
  readonly qos: QoS
  /** MQTT 5: User Properties in every PUBLISH. */
  readonly userProperties: number
  /** QoS asked for in SUBSCRIBE. */
  readonly subscribeQos: QoS
  readonly payloadBytes: number
  /** QoS 1 and 2: PUBLISH packets a publisher has in flight at most. */
  readonly window: number
  /** False: subscribers keep their sessions (Clean Session 0). */
  readonly clean: boolean
  /** All publishers use one topic and all subscribers subscribe to it. */
  readonly fanOut: boolean
  /** Subscribers share one subscription of this Share Name; '': each has its own. */
  readonly shareName: string
  /** Topics each publisher uses in turn; 1 with fan-out. */
  readonly topicsEach: number
  /** First topic level; see `topicsOf`. */
  readonly prefix: string
  /** Mode rate: messages per second over all publishers. */
  readonly rate: number
  /** Mode hold: connections to open. */
  readonly connections: number
  /** Mode hold: connections to open per second, by the clock; 0: as fast as the broker answers. */
  readonly connectRate: number
  /** Connections that only subscribe, before the traffic begins, to filters no message of the run matches. */
  readonly backgroundConnections: number
  /** Subscriptions of each of them. */
  readonly backgroundSubscriptions: number
  /** All of them have wildcards; else half of them. */
  readonly backgroundWildcards: boolean
  /** Connections that may be waiting for their CONNACK or SUBACK at the same time. */
  readonly connectsAtOnce: number
  readonly keepAliveSeconds: number
  readonly warmupSeconds: number
  readonly seconds: number
  /** Processes of the broker whose CPU and memory are reported together; empty: none. */
  readonly brokerPids: readonly number[]
  /** Its Redis server, whose CPU and memory are reported beside; empty: none. */
  readonly redisPids: readonly number[]
}

const PUBLISH_HEADER_MAX = 64

/** Reads the command line of `load.js`. Throws an Error that names the option and what it expects. */
export function parseLoadOptions(args: readonly string[]): LoadOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      mode: { type: 'string', default: 'flood' },
      host: { type: 'string', default: '127.0.0.1' },
      port: { type: 'string' },
      'subscriber-port': { type: 'string' },
      transport: { type: 'string', default: 'tcp' },
      version: { type: 'string', default: '4' },
      publishers: { type: 'string', default: '1' },
      subscribers: { type: 'string', default: '1' },
      qos: { type: 'string', default: '0' },
      'user-properties': { type: 'string', default: '0' },
      'subscribe-qos': { type: 'string' },
      payload: { type: 'string', default: '16' },
      window: { type: 'string', default: '100' },
      'keep-session': { type: 'boolean', default: false },
      'fan-out': { type: 'boolean', default: false },
      share: { type: 'string', default: '' },
      topics: { type: 'string', default: '1' },
      prefix: { type: 'string', default: 'b' },
      rate: { type: 'string', default: '20000' },
      connections: { type: 'string', default: '1000' },
      'connect-rate': { type: 'string', default: '0' },
      'background-connections': { type: 'string', default: '0' },
      'background-subscriptions': { type: 'string', default: '1000' },
      'background-wildcards': { type: 'boolean', default: false },
      'connects-at-once': { type: 'string', default: '50' },
      'keep-alive': { type: 'string', default: '0' },
      warmup: { type: 'string', default: '1' },
      seconds: { type: 'string', default: '4' },
      'broker-pid': { type: 'string', default: '' },
      'redis-pid': { type: 'string', default: '' },
    },
  })
  const number = (name: keyof typeof values, least: number, most: number, whole = true): number => {
    const value = Number(values[name])
    if (values[name] === undefined || !(value >= least && value <= most) || (whole && !Number.isInteger(value))) {
      throw new Error(`--${name} expects a ${whole ? 'whole ' : ''}number from ${least} to ${most}`)
    }
    return value
  }
  const mode = values.mode
  if (mode !== 'flood' && mode !== 'rate' && mode !== 'hold') throw new Error('--mode expects flood, rate or hold')
  const transport = values.transport
  if (transport !== 'tcp' && transport !== 'tls' && transport !== 'websocket') {
    throw new Error('--transport expects tcp, tls or websocket')
  }
  const version = number('version', 4, 5) as Version
  const userProperties = number('user-properties', 0, 100)
  if (userProperties > 0 && version !== 5) throw new Error('--user-properties needs --version 5')
  const qos = number('qos', 0, 2) as QoS
  const payloadBytes = number('payload', 0, 256 * 1024 * 1024 - PUBLISH_HEADER_MAX)
  if (mode === 'rate' && payloadBytes < 8) throw new Error('--mode rate needs --payload 8 or more for the timestamp')
  return {
    mode,
    host: values.host,
    port: number('port', 1, 65_535),
    subscriberPort: number(values['subscriber-port'] === undefined ? 'port' : 'subscriber-port', 1, 65_535),
    transport,
    version,
    publishers: number('publishers', 0, 10_000),
    subscribers: number('subscribers', 0, 10_000),
    qos,
    userProperties,
    subscribeQos: values['subscribe-qos'] === undefined ? qos : (number('subscribe-qos', 0, 2) as QoS),
    payloadBytes,
    window: number('window', 1, 65_535),
    clean: !values['keep-session'],
    fanOut: values['fan-out'],
    shareName: values.share,
    topicsEach: values['fan-out'] ? 1 : number('topics', 1, 1000),
    prefix: values.prefix,
    rate: number('rate', 1, 10_000_000),
    connections: number('connections', 1, 60_000),
    connectRate: number('connect-rate', 0, 1_000_000),
    backgroundConnections: number('background-connections', 0, 20_000),
    backgroundSubscriptions: number('background-subscriptions', 1, 1_000_000),
    connectsAtOnce: number('connects-at-once', 1, 10_000),
    keepAliveSeconds: number('keep-alive', 0, 65_535),
    warmupSeconds: number('warmup', 0, 3_600, false),
    seconds: number('seconds', 0.1, 86_400, false),
    backgroundWildcards: values['background-wildcards'],
    brokerPids: pids('broker-pid', values['broker-pid']),
    redisPids: pids('redis-pid', values['redis-pid']),
  }
}

/** Comma-separated process ids; 0 is none. */
function pids(name: string, text: string): number[] {
  const all = text.split(',').filter(Boolean).map(Number)
  if (!all.every((pid) => Number.isInteger(pid) && pid >= 0)) throw new Error(`--${name} expects process ids`)
  return all.filter((pid) => pid > 0)
}

/**
 * The topics publisher `index` uses: `<prefix>/all` with fan-out, `<prefix>/dev<i>/telemetry`, or with more than one
 * each `<prefix>/dev<i>/sensor<nnn>`, equally long.
 */
export function topicsOf(options: LoadOptions, index: number): string[] {
  const { prefix, topicsEach } = options
  if (options.fanOut) return [`${prefix}/all`]
  if (topicsEach === 1) return [`${prefix}/dev${index}/telemetry`]
  return Array.from({ length: topicsEach }, (_, n) => `${prefix}/dev${index}/sensor${String(n).padStart(3, '0')}`)
}

/**
 * The Topic Filter subscriber `index` uses: the one topic with fan-out, everything when a single subscriber (or one
 * shared subscription) listens to many publishers, else what the publisher of the same number uses.
 */
export function topicFilterOf(options: LoadOptions, index: number): string {
  const { prefix, publishers, subscribers, shareName } = options
  if (shareName !== '') return `$share/${shareName}/${prefix}/${options.fanOut ? 'all' : '#'}`
  if (options.fanOut) return `${prefix}/all`
  if (subscribers === 1 && publishers > 1) return `${prefix}/#`
  const publisher = index % Math.max(1, publishers)
  return options.topicsEach > 1 ? `${prefix}/dev${publisher}/+` : topicsOf(options, publisher)[0]!
}

/** How many subscribers receive one message of publisher `index`. */
export function receiversOf(options: LoadOptions, index: number): number {
  const { publishers, subscribers } = options
  if (options.shareName !== '') return Math.min(1, subscribers)
  if (options.fanOut || (subscribers === 1 && publishers > 1)) return subscribers
  return Math.floor(subscribers / publishers) + (index < subscribers % publishers ? 1 : 0)
}
