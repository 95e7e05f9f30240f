/**
 * Every setting of the broker, once. The types, defaults, ranges, environment names, reference page
 * (docs/config.md), example file and JSON Schema are all read from here.
 *
 * A name ends in its unit (`Ms`, `Seconds`, `Bytes…`); every number has a range; `describe` is the last call so that
 * the text survives into the JSON Schema from which everything else is made.
 */
import { z } from 'zod'
import { authenticationSchema } from './authentication.ts'
import { bridgeRuleSchema } from './bridge.ts'
import { limitOverrideSchema } from './connection-limits.ts'
import { limitsSchema } from './limits.ts'
import { lmdbSchema } from './lmdb.ts'
import { nodesSchema } from './nodes.ts'
import { integer } from './number.ts'
import { queueName, queueSettingsSchema } from './queues.ts'
import { redisSchema } from './redis.ts'
import { tlsSchema } from './tls.ts'

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
  authentication: authenticationSchema,
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
  lmdb: lmdbSchema,
  redis: redisSchema,
  nodes: nodesSchema,
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
      localFirst: z
        .boolean()
        .default(false)
        .describe(
          'With several nodes: members connected to the node where a message is published go before all others, as long as ' +
            'one of them can take it. Saves a way between nodes; `sticky` and `hash` then hold within a node.',
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
      sessionsBelongToUsers: z
        .boolean()
        .default(true)
        .describe(
          'A session belongs to the user who was checked when it began: a client of another user with the same Client ' +
            'Identifier is refused (0x87). `false`: whoever may connect may resume it.',
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
  limits: limitsSchema,
  limitOverrides: z
    .array(limitOverrideSchema)
    .max(1000)
    .default([])
    .describe(
      'Limits that differ by listener or by user. All entries that fit a client apply, the later ones over the earlier.',
    ),
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
