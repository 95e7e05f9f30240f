/**
 * Every setting of the broker, once. The types, defaults, ranges, environment names, reference page
 * (docs/config.md), example file and JSON Schema are all read from here.
 *
 * A name ends in its unit (`Ms`, `Seconds`, `Bytes…`); every number has a range; `describe` is the last call so that
 * the text survives into the JSON Schema from which everything else is made.
 */
import { z } from 'zod'
import { tlsSchema } from './tls.ts'

const KIB = 1024
const MIB = 1024 * KIB

function integer(min: number, max: number, byDefault: number, text: string) {
  return z.int().min(min).max(max).default(byDefault).describe(text)
}

const queueName = z
  .string()
  .min(1)
  .max(200)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: refusing them is the point
  .regex(/^[^\u0000-\u001f\u007f]+$/, 'a name of 1 to 200 characters without control characters')

const backoff = z
  .strictObject({
    minMs: integer(1, 86_400_000, 500, 'Delay before the second attempt, in ms.'),
    maxMs: integer(1, 604_800_000, 300_000, 'Longest delay between two attempts, in ms.'),
    factor: z.number().min(1).max(100).default(2).describe('Each delay is this many times the one before.'),
    jitter: z
      .enum(['full', 'none'])
      .default('full')
      .describe(
        '`full`: a random delay between 0 and the computed one, so that failed messages do not return at once.',
      ),
  })
  .prefault({})
  .describe('How long a message that failed waits before its next attempt.')

/** Settings of one work queue. */
export const queueSettingsSchema = z
  .strictObject({
    leaseMs: integer(100, 43_200_000, 30_000, 'Lease of a pull that names none, in ms. At most 12 hours.'),
    maxAttempts: integer(1, 1_000_000, 10, 'Attempts before a message becomes a dead letter.'),
    backoff,
    deadLetterQueue: queueName
      .exactOptional()
      .describe('Queue that takes messages which used up their attempts. Default: the name of the queue and `.dead`.'),
  })
  .describe('Settings of this queue.')

/** One bridge rule: what is published to matching topics is kept in a durable queue. */
export const bridgeRuleSchema = z.strictObject({
  topicFilter: z.string().min(1).max(65_535).describe('MQTT Topic Filter, e.g. `devices/+/telemetry`.'),
  queue: queueName.describe('Name of the queue that receives the messages.'),
})

/** A SHA-256 hash in base64. */
const scramKey = z.string().regex(/^[A-Za-z0-9+/]{43}=$/, '32 bytes in base64')

const authentication = z
  .strictObject({
    scram: z
      .strictObject({
        users: z
          .record(
            z.string().min(1).max(1024),
            z.strictObject({
              salt: z
                .string()
                .regex(/^(?:[A-Za-z0-9+/]{4}){2,128}(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/, 'base64')
                .describe('Salt, in base64.'),
              iterations: integer(4096, 10_000_000, 15_000, 'Iterations of the hash (RFC 7677).'),
              storedKey: scramKey.describe('What recognises the client: 32 bytes in base64.'),
              serverKey: scramKey.describe('What proves the broker to the client: 32 bytes in base64.'),
            }),
          )
          .default({})
          .describe('Users of SCRAM-SHA-256 by name, as `sluicemq user scram NAME` prints them.'),
      })
      .prefault({})
      .describe('SCRAM-SHA-256 (MQTT 5, RFC 7677): the password never travels.'),
  })
  .prefault({})
  .describe('Who may connect. Once a user is named here, clients without a name need `allowAnonymous: true`.')

const limits = z
  .strictObject({
    packetBytesMax: integer(64, 268_435_460, MIB, 'Largest MQTT packet accepted, in bytes with its header.'),
    connectionsMax: integer(1, 10_000_000, 100_000, 'Network connections at one time; more are refused.'),
    listenBacklog: integer(1, 65_535, 4096, 'TCP connections the operating system keeps waiting for accept.'),
    connectTimeoutMs: integer(100, 600_000, 10_000, 'Time from accept to a complete CONNECT packet, in ms.'),
    topicLevelsMax: integer(1, 65_535, 128, 'Levels of a Topic Name or Topic Filter.'),
    topicBytesMax: integer(1, 65_535, 65_535, 'Length of a Topic Name or Topic Filter, in bytes.'),
    keepAliveSecondsMax: integer(0, 65_535, 0, 'Longest Keep Alive a client may ask for, in seconds. 0: no cap.'),
    inflightMax: integer(1, 65_535, 1024, 'QoS 1 and 2 messages sent to one connection and not acknowledged yet.'),
    receiveMaximum: integer(
      1,
      65_535,
      1024,
      'QoS 1 and 2 messages a client may have unacknowledged towards the broker.',
    ),
    topicAliasMaximum: integer(0, 65_535, 32, 'Topic Aliases a client may use on one connection (MQTT 5). 0: none.'),
    outboundBytesMax: integer(
      64 * KIB,
      1024 * MIB,
      8 * MIB,
      'Bytes waiting to be sent to one connection. At the limit QoS 0 messages for it are dropped and counted.',
    ),
    drainTimeoutMs: integer(
      100,
      3_600_000,
      60_000,
      'A connection that takes no bytes for this long while some wait is closed, in ms.',
    ),
    sessionQueuedMessagesMax: integer(1, 100_000_000, 100_000, 'Messages kept for one persistent session.'),
    sessionQueuedBytesMax: integer(KIB, 1024 * 1024 * MIB, 64 * MIB, 'Bytes kept for one persistent session.'),
    subscriptionsPerSessionMax: integer(1, 10_000_000, 10_000, 'Subscriptions of one session.'),
    sessionExpirySecondsMax: integer(
      1,
      4_294_967_295,
      604_800,
      'How long a persistent session outlives its connection, in seconds: the value for MQTT 3, the cap for MQTT 5. ' +
        '4294967295: never expires.',
    ),
    retainedMessagesMax: integer(0, 1_000_000_000, 1_000_000, 'Retained messages of the broker.'),
    inboundPausedBytes: integer(
      64 * KIB,
      4096 * MIB,
      16 * MIB,
      'Published bytes not yet on disk at which the broker stops reading from publishers.',
    ),
    shutdownMs: integer(0, 600_000, 10_000, 'Time for connections and requests to finish after SIGTERM, in ms.'),
  })
  .prefault({})
  .describe('Every queue, map and wait has a limit, and the limit has a name.')

export const configSchema = z.strictObject({
  host: z
    .string()
    .min(1)
    .max(253)
    .default('127.0.0.1')
    .describe('Address to listen on. Anything but loopback needs users (`authentication`) or `allowAnonymous: true`.'),
  mqttPort: integer(0, 65_535, 1883, 'TCP port of MQTT. 0: any free port.'),
  httpPort: integer(
    0,
    65_535,
    8080,
    'Port of the HTTP API, health, metrics and MQTT over WebSocket. 0: any free port.',
  ),
  allowAnonymous: z
    .boolean()
    .default(false)
    .describe(
      'Lets clients in without a password. Has to be said by name; loopback needs no saying as long as `authentication` ' +
        'names no user.',
    ),
  authentication,
  dataDir: z.string().min(1).max(4096).default('./data').describe('Folder of the embedded store. Made when absent.'),
  store: z
    .enum(['lmdb', 'redis', 'memory'])
    .default('lmdb')
    .describe('`lmdb`: on disk, one node. `redis`: shared by nodes. `memory`: nothing survives the process.'),
  redisUrl: z
    .string()
    .regex(/^(rediss?|unix):\/\/.+/, 'a URL such as redis://127.0.0.1:6379')
    .exactOptional()
    .describe('Redis server, e.g. `redis://127.0.0.1:6379`. Needed by `store: redis`.'),
  nodeId: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, 'letters, digits, dot, dash and underscore, at most 63')
    .exactOptional()
    .describe('Name of this node among others. Default: made up once and kept in the store.'),
  bridge: z
    .array(bridgeRuleSchema)
    .max(10_000)
    .default([])
    .describe(
      'Rules that keep matching messages in durable queues. Without any config file there is one example rule: ' +
        '`devices/+/telemetry` into the queue `telemetry`.',
    ),
  queues: z
    .record(queueName, queueSettingsSchema)
    .default({})
    .describe('Settings by queue name. A queue that a rule names and that is not listed here has the defaults.'),
  shared: z
    .strictObject({
      strategy: z
        .enum(['round-robin', 'random', 'least-inflight', 'sticky', 'hash'])
        .default('round-robin')
        .describe(
          'Which member of a shared subscription gets the next message. `sticky`: the same member for a publisher, ' +
            '`hash`: the same member for a topic.',
        ),
    })
    .prefault({})
    .describe('Shared subscriptions ($share/…).'),
  sys: z
    .strictObject({
      intervalSeconds: integer(0, 86_400, 10, 'How often the $SYS topics are published, in seconds. 0: never.'),
      readableBy: z
        .enum(['auto', 'anyone', 'authenticated', 'nobody'])
        .default('auto')
        .describe(
          'Which clients may subscribe to `$SYS/…` and `$events/…`. `auto`: `anyone` when `host` is a loopback address, ' +
            'else `authenticated`. Bridge rules may always name them.',
        ),
    })
    .prefault({})
    .describe('Topics the broker publishes about itself: docs/broker-topics.md.'),
  clientEvents: z
    .boolean()
    .default(false)
    .describe(
      'Publish what happens to clients: `$events/client/connected/<client id>` and others, see docs/broker-topics.md.',
    ),
  mqtt: z
    .strictObject({
      validatePayloadFormat: z
        .boolean()
        .default(false)
        .describe('Refuse a PUBLISH whose Payload Format Indicator says UTF-8 and whose payload is not (MQTT 5).'),
      responseInformation: z
        .string()
        .max(1024)
        .default('responses/%c')
        .describe(
          'Response Information for clients that ask for it (MQTT 5): a topic prefix for their Response Topics. ' +
            '`%c` is the Client Identifier, `%u` the user name. Empty: none.',
        ),
      redirect: z
        .strictObject({
          serverReference: z
            .string()
            .min(1)
            .max(1024)
            .describe('Where clients should go instead, e.g. `other.example.com:1883`.'),
          permanent: z
            .boolean()
            .default(false)
            .describe('`true`: reason code 0x9D (server moved), else 0x9C (use another server).'),
        })
        .exactOptional()
        .describe('Refuse every CONNECT and name another server (MQTT 5; others hear "server unavailable").'),
    })
    .prefault({})
    .describe('Behaviour the protocol leaves to the server.'),
  webSocket: z
    .strictObject({
      origins: z
        .array(z.string().min(1).max(2048))
        .max(1000)
        .default([])
        .describe(
          'Web pages that may connect from a browser, e.g. `https://app.example.com`; `*` for all. A page served by ' +
            'the broker itself and programs outside a browser always may.',
        ),
    })
    .prefault({})
    .describe('MQTT over WebSocket, at /mqtt on the HTTP port.'),
  tls: tlsSchema,
  limits,
  log: z
    .strictObject({
      level: z
        .enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'])
        .default('info')
        .describe('Least important level that is written. `debug` also tells which clients come, subscribe and go.'),
      format: z
        .enum(['auto', 'json', 'pretty'])
        .default('auto')
        .describe('`json`: one object per line. `pretty`: for people. `auto`: pretty on a terminal, else json.'),
    })
    .prefault({})
    .describe('The log, on stderr. Payloads and passwords are never written.'),
})

export type Config = z.output<typeof configSchema>
/** What may be written in a file: everything optional. */
export type ConfigInput = z.input<typeof configSchema>
export type QueueSettings = z.output<typeof queueSettingsSchema>
export type BridgeRule = z.output<typeof bridgeRuleSchema>
export type Limits = Config['limits']

/** The rule of the README's tour; in force when no config file is given. */
export const exampleRule: BridgeRule = { topicFilter: 'devices/+/telemetry', queue: 'telemetry' }

/** The settings of a broker without any file, flag or environment: what tests and embedders start from. */
export function defaultConfig(): Config {
  return configSchema.parse({ bridge: [exampleRule] })
}
