import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { checkTogether, isLoopback } from '../../src/config/checks.ts'
import { exampleConfig } from '../../src/config/example.ts'
import { configKeys, rootNode } from '../../src/config/keys.ts'
import { type ConfigSources, loadConfig } from '../../src/config/load.ts'
import { editDistance, nearest } from '../../src/config/nearest.ts'
import { configReference } from '../../src/config/reference.ts'
import { defaultConfig } from '../../src/config/schema.ts'
import { SluiceError } from '../../src/errors.ts'
import { defaultQueueSettings } from '../../src/queue/settings.ts'

const folder = mkdtempSync(join(tmpdir(), 'sluicemq-config-'))
afterAll(() => rmSync(folder, { recursive: true }))

let files = 0
function file(text: string): string {
  const path = join(folder, `${++files}.yaml`)
  writeFileSync(path, text)
  return path
}

function problems(sources: ConfigSources): string[] {
  try {
    loadConfig(sources)
  } catch (error) {
    expect(error).toBeInstanceOf(SluiceError)
    expect((error as SluiceError).code).toBe('config_invalid')
    return (error as SluiceError).message.replaceAll(`${folder}/`, '').split('\n')
  }
  return []
}

describe('defaults', () => {
  test('with nothing at all the broker is safe and useful: loopback, on disk, one example rule', () => {
    const config = loadConfig({})
    expect(config).toEqual(defaultConfig())
    expect(config).toMatchObject({
      host: '127.0.0.1',
      mqttPort: 1883,
      httpPort: 8080,
      dataDir: './data',
      store: 'lmdb',
      allowAnonymous: false,
      bridge: [{ topicFilter: 'devices/+/telemetry', queue: 'telemetry' }],
    })
  })

  test('a config file that names no rule has no rule', () => {
    expect(loadConfig({ file: file('mqttPort: 1999\n') }).bridge).toEqual([])
    expect(loadConfig({ file: file('# nothing\n') }).bridge).toEqual([])
  })

  test('a queue that is listed has the defaults for what it does not set', () => {
    const { queues } = loadConfig({ file: file('queues:\n  jobs:\n    maxAttempts: 3\n  other:\n') })
    expect(queues['jobs']).toEqual({ ...defaultQueueSettings, maxAttempts: 3 })
    expect(queues['other']?.maxAttempts).toBe(10)
  })
})

test('a group that may be left out stays out when only its name is written', () => {
  expect(loadConfig({ file: file('mqtt:\n  redirect:\n') }).mqtt).toEqual(defaultConfig().mqtt)
  expect(problems({ file: file('mqtt:\n  redirect: {}\n') })).toEqual([
    `${files}.yaml:2: mqtt.redirect.serverReference: is missing; expected text`,
  ])
})

describe('precedence', () => {
  test('flags over environment over file over default, key by key', () => {
    const config = loadConfig({
      file: file('mqttPort: 1\nhttpPort: 2\ndataDir: file\nlimits:\n  inflightMax: 4\n  receiveMaximum: 5\n'),
      env: { SLUICEMQ_HTTP_PORT: '20', SLUICEMQ_DATA_DIR: 'env', SLUICEMQ_LIMITS_INFLIGHT_MAX: '40' },
      flags: [{ key: 'dataDir', flag: '--data-dir', text: 'flag' }],
    })
    expect(config).toMatchObject({ mqttPort: 1, httpPort: 20, dataDir: 'flag' })
    expect(config.limits).toMatchObject({ inflightMax: 40, receiveMaximum: 5, connectTimeoutMs: 10_000 })
  })

  test('an empty environment value counts as not set', () => {
    expect(loadConfig({ env: { SLUICEMQ_MQTT_PORT: '', SLUICEMQ_REDIS_URL: '' } })).toEqual(defaultConfig())
  })

  test('the environment holds lists and mappings as YAML, lists of words also with commas', () => {
    const config = loadConfig({
      env: {
        SLUICEMQ_BRIDGE: '[{ topicFilter: a/#, queue: q }]',
        SLUICEMQ_QUEUES: '{ q: { maxAttempts: 2 } }',
        SLUICEMQ_WEB_SOCKET_ORIGINS: 'https://a.example, https://b.example',
      },
    })
    expect(config.bridge).toEqual([{ topicFilter: 'a/#', queue: 'q' }])
    expect(config.queues['q']?.maxAttempts).toBe(2)
    expect(config.webSocket.origins).toEqual(['https://a.example', 'https://b.example'])
  })

  test('every single setting can be given by its environment name', () => {
    for (const key of configKeys) {
      if (key.env === null || key.kind !== 'value') continue
      const { node } = key
      // Together with others, so that rules across settings hold.
      const text =
        key.name === 'host'
          ? '127.0.0.2'
          : key.name === 'redisUrl'
            ? 'redis://h'
            : key.name === 'nodes.address'
              ? 'http://h'
              : String(node.enum?.at(-1) ?? (node.type === 'boolean' ? true : (node.minimum ?? 'x')))
      const groups: Record<string, Record<string, string>> = {
        redirect: { SLUICEMQ_MQTT_REDIRECT_SERVER_REFERENCE: 'x' },
        tls: { SLUICEMQ_TLS_CERT_FILE: 'x', SLUICEMQ_TLS_KEY_FILE: 'x', SLUICEMQ_TLS_CA_FILE: 'x' },
      }
      const together = groups[String(key.path.at(-2))] ?? {}
      const config: unknown = loadConfig({ env: { ...together, [key.env]: text } })
      const value = key.path.reduce<unknown>((at, name) => (at as Record<string, unknown>)[name], config)
      expect(String(value), key.env).toBe(text)
    }
  })

  test('what Kubernetes sets for a service called sluicemq is no setting and no mistake', () => {
    const env = {
      SLUICEMQ_SERVICE_HOST: '10.0.0.1',
      SLUICEMQ_SERVICE_PORT_MQTT: '1883',
      SLUICEMQ_PORT: 'tcp://10.0.0.1:1883',
      SLUICEMQ_PORT_1883_TCP_ADDR: '10.0.0.1',
    }
    expect(loadConfig({ env })).toEqual(defaultConfig())
  })
})

describe('mistakes are named', () => {
  test('an unknown key names the file, the line, the path and the nearest valid key', () => {
    const path = file('mqttPort: 1883\nlimits:\n  inflightMax: 5\n  packetByteMax: 1\nmqttport: 1\n')
    expect(problems({ file: path })).toEqual([
      `${files}.yaml:4: limits.packetByteMax: unknown key; did you mean limits.packetBytesMax?`,
      `${files}.yaml:5: mqttport: unknown key; did you mean mqttPort?`,
    ])
  })

  test('a key on the wrong level is shown its place; a stranger gets no wild guess', () => {
    const found = problems({ file: file('inflightMax: 5\nzebra: 1\n') })
    expect(found[0]).toContain('inflightMax: unknown key; did you mean limits.inflightMax?')
    expect(found[1]).toMatch(/zebra: unknown key$/)
  })

  test('a wrong value names where it was written, what was expected and what was found', () => {
    const path = file('mqttPort: 70000\nstore: mongodb\nlog:\n  level: loud\nbridge:\n  - topicFilter: a\n  - 7\n')
    expect(problems({ file: path })).toEqual([
      `${files}.yaml:1: mqttPort: expected a whole number from 0 to 65535, got 70000`,
      `${files}.yaml:2: store: expected one of lmdb, redis, memory, got "mongodb"`,
      `${files}.yaml:6: bridge[0].queue: is missing; expected text`,
      `${files}.yaml:7: bridge[1]: expected a mapping of settings, got 7`,
      `${files}.yaml:4: log.level: expected one of fatal, error, warn, info, debug, trace, silent, got "loud"`,
    ])
  })

  test('in the environment and on the command line too', () => {
    const env = { SLUICEMQ_MQTT_PORT: 'http', SLUICEMQ_MQTTPORT: '1', SLUICEMQ_BRIDGE: '[' }
    const flags = [{ key: 'httpPort', flag: '--http-port', text: '-1' }]
    expect(problems({ env, flags })).toEqual([
      'SLUICEMQ_MQTTPORT: no such setting; did you mean SLUICEMQ_MQTT_PORT?',
      'SLUICEMQ_MQTT_PORT: mqttPort: expected a whole number from 0 to 65535, got "http"',
      '--http-port: httpPort: expected a whole number from 0 to 65535, got -1',
      'SLUICEMQ_BRIDGE: bridge: expected a list of at most 10000 entries, got "["',
    ])
  })

  test('a password in a URL does not reach the message', () => {
    const found = problems({ env: { SLUICEMQ_REDIS_URL: 'http://user:hunter2@host' } })
    expect(found).toEqual([
      'SLUICEMQ_REDIS_URL: redisUrl: expected a URL such as redis://127.0.0.1:6379, got a value that is not shown',
    ])
  })

  test('broken YAML names the line', () => {
    expect(problems({ file: file('mqttPort: 1\n  host: [\n') })[0]).toMatch(/^\d+\.yaml:\d+: /)
    expect(problems({ file: file('host: a\nhost: b\n') })[0]).toMatch(/^\d+\.yaml:2: Map keys must be unique/)
    expect(problems({ file: file('just words\n') })).toEqual([
      `${files}.yaml:1: expected settings such as "mqttPort: 1883", got string`,
    ])
  })

  test('a missing file is named', () => {
    expect(problems({ file: join(folder, 'none.yaml') })).toEqual(['none.yaml: there is no such file'])
  })

  test('__proto__ is an unknown key like any other', () => {
    expect(problems({ file: file('__proto__:\n  allowAnonymous: true\n') })).toEqual([
      `${files}.yaml:1: __proto__: unknown key`,
    ])
  })
})

describe('settings that have to fit together', () => {
  test('listening on the network without authentication has to be asked for by name', () => {
    const path = file('mqttPort: 1883\nhost: 0.0.0.0\n')
    expect(problems({ file: path })[0]).toMatch(/^\d+\.yaml:2: host: 0\.0\.0\.0 .* allowAnonymous: true/)
    expect(problems({ file: path, env: { SLUICEMQ_ALLOW_ANONYMOUS: 'true' } })).toEqual([])
    expect(loadConfig({ file: file('host: "::"\nallowAnonymous: true\n') }).host).toBe('::')
  })

  test('loopback is what only this machine can reach', () => {
    for (const host of ['127.0.0.1', '127.9.9.9', '::1', 'localhost', '::ffff:127.0.0.1']) {
      expect(isLoopback(host), host).toBe(true)
    }
    for (const host of ['0.0.0.0', '::', '192.168.1.1', '128.0.0.1', '127.0.0.1.evil.example', 'broker', '']) {
      expect(isLoopback(host), host).toBe(false)
    }
  })

  test('a bridge rule needs a valid Topic Filter [v5 MQTT-4.7.1-1]', () => {
    const path = file(
      'bridge:\n  - { topicFilter: "a/#", queue: q }\n  - { topicFilter: "a#", queue: q }\n  - { topicFilter: "$share/g/a", queue: q }\n',
    )
    expect(problems({ file: path })).toEqual([
      expect.stringMatching(/^\d+\.yaml:3: bridge\[1\]\.topicFilter: "a#" is not a valid Topic Filter/),
      expect.stringMatching(/^\d+\.yaml:4: bridge\[2\]\.topicFilter: "\$share\/g\/a" is a shared subscription/),
    ])
  })

  test('ports, redis and queues', () => {
    const config = { ...defaultConfig(), mqttPort: 8080, store: 'redis' as const }
    const queue = { ...defaultQueueSettings, deadLetterQueue: 'q' }
    const backoff = { minMs: 2, maxMs: 1, factor: 2, jitter: 'full' as const }
    expect(checkTogether({ ...config, queues: { q: { ...queue, backoff } } }, () => '')).toEqual([
      'httpPort: 8080 is the mqttPort too; choose two ports',
      'redisUrl: is missing; store: redis needs it (--redis-url redis://127.0.0.1:6379)',
      'queues.q.backoff.minMs: 2 is more than maxMs (1)',
      'queues.q.deadLetterQueue: a queue cannot be its own dead-letter queue',
    ])
    expect(checkTogether({ ...defaultConfig(), mqttPort: 0, httpPort: 0 }, () => '')).toEqual([])
  })

  test('an overflow needs a queue that takes it, and another one', () => {
    const limits = (limits: object) => ({
      q: { ...defaultQueueSettings, limits: { ...defaultQueueSettings.limits, ...limits } },
    })
    const check = (queues: object) => checkTogether({ ...defaultConfig(), queues } as never, () => '')
    expect(check(limits({ whenFull: 'overflow' }))).toEqual([
      'queues.q.limits.overflowQueue: goes with whenFull: overflow',
    ])
    expect(check(limits({ whenFull: 'overflow', overflowQueue: 'q' }))).toEqual([
      'queues.q.limits.overflowQueue: a queue cannot take its own overflow',
    ])
    expect(check(limits({ whenFull: 'overflow', overflowQueue: 'r' }))).toEqual([])
  })

  test('tls: a port of its own, and certificates of clients only with what signs them', () => {
    const tls = { certFile: 'c', keyFile: 'k', minVersion: 'TLSv1.2' as const, requestCertificate: true }
    expect(checkTogether({ ...defaultConfig(), tls: { ...tls, port: 1883 } }, () => '')).toEqual([
      'tls.port: 1883 is the mqttPort too; choose two ports',
      'tls.caFile: is missing; requestCertificate needs it',
    ])
    expect(checkTogether({ ...defaultConfig(), tls: { ...tls, port: 8883, caFile: 'ca' } }, () => '')).toEqual([])
    expect(loadConfig({ file: file('tls:\n  certFile: c\n  keyFile: k\n') }).tls).toEqual({
      port: 8883,
      certFile: 'c',
      keyFile: 'k',
      requestCertificate: false,
      minVersion: 'TLSv1.2',
    })
  })
})

describe('made from the schema', () => {
  const kept = (name: string): string => readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8')

  test('the example file means the same as no file at all', () => {
    expect(loadConfig({ file: file(exampleConfig()) })).toEqual(defaultConfig())
  })

  test('with every # taken away, the example shows the true default of every key', () => {
    const text = exampleConfig().replace(/^(\s*)#(?=[^\s#])(.*)$/gm, '$1$2')
    const bare = text
      .replace(/^( {2})#( {2})/gm, '$1$2')
      .replace(/^ *(redisUrl|username|password|sentinelPassword|nodeId|address|redirect|tls):.*\n/gm, '')
    const { queues, ...rest } = loadConfig({ file: file(bare) })
    const { queues: none, ...defaults } = defaultConfig()
    expect(none).toEqual({})
    expect(rest).toEqual(defaults)
    expect(queues).toEqual(loadConfig({ file: file('queues:\n  telemetry:\n') }).queues)
    for (const key of configKeys) expect(exampleConfig(), key.name).toMatch(new RegExp(`\\b${key.path.at(-1)}\\b`))
  })

  test('docs/config.md and sluicemq.example.yaml are up to date', () => {
    expect(kept('docs/config.md')).toBe(configReference())
    expect(kept('sluicemq.example.yaml')).toBe(exampleConfig())
  })

  test('every key says what it means, every number its range, and no two share an environment name', () => {
    for (const { name, node } of configKeys) {
      if (!name.endsWith('[]')) expect(node.description, name).toMatch(/.\.$/)
      if (node.type === 'integer' || node.type === 'number')
        expect([node.minimum, node.maximum], name).not.toContain(undefined)
    }
    const names = configKeys.flatMap(({ env }) => env ?? [])
    expect(new Set(names).size).toBe(names.length)
    expect(rootNode.additionalProperties).toBe(false)
  })
})

test('the edit distance counts insertions, deletions, substitutions and swaps', () => {
  expect(editDistance('', 'abc')).toBe(3)
  expect(editDistance('port', 'prot')).toBe(1)
  expect(editDistance('kitten', 'sitting')).toBe(3)
  expect(nearest('hosst', ['host', 'nodeId'])).toBe('host')
  expect(nearest('zz', ['host', 'nodeId'])).toBeNull()
})
