/** Dockerfile and docker-compose.yml cannot be run by the tests; what they say about the broker can be checked. */
import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { configKeys } from '../../src/config/keys.ts'
import { loadConfig } from '../../src/config/load.ts'

const dockerfile = readFileSync('Dockerfile', 'utf8')
const compose = parse(readFileSync('docker-compose.yml', 'utf8'), { merge: true })
const settings = new Set(configKeys.flatMap(({ env }) => env ?? []))

/** The environment of the last stage. */
const imageEnv: Record<string, string> = Object.fromEntries(
  [...dockerfile.replaceAll('\\\n', ' ').matchAll(/^ENV (.*)$/gm)].flatMap(([, pairs]) =>
    (pairs as string)
      .trim()
      .split(/\s+/)
      .map((pair) => pair.split('=') as [string, string]),
  ),
)

/** Values as compose sees them when the caller sets `given`. */
function composeEnv(given: Record<string, string>): Record<string, string> {
  const env = compose.services.broker.environment as Record<string, string>
  return Object.fromEntries(
    Object.entries(env).map(([name, value]) => [
      name,
      value.replace(/\$\{(\w+):-([^}]*)\}/g, (_all, variable, otherwise) => given[variable] ?? otherwise),
    ]),
  )
}

describe('Dockerfile', () => {
  test('sets only settings that exist, and data lives in the volume', () => {
    for (const name of Object.keys(imageEnv).filter((key) => key !== 'NODE_ENV')) expect(settings).toContain(name)
    expect(dockerfile).toContain(`VOLUME ${imageEnv['SLUICEMQ_DATA_DIR']}\n`)
  })

  test('does not let the network in unless somebody says so', () => {
    expect(imageEnv['SLUICEMQ_HOST']).toBe('0.0.0.0')
    expect(() => loadConfig({ env: imageEnv })).toThrow('SLUICEMQ_ALLOW_ANONYMOUS=true')
  })

  test('exposes the default ports, runs without root and asks the health that exists', () => {
    const { mqttPort, httpPort } = loadConfig({})
    expect(dockerfile).toContain(`EXPOSE ${mqttPort} ${httpPort}\n`)
    expect(dockerfile).toContain(`SLUICEMQ_HTTP_PORT || ${httpPort}}/health/ready`)
    expect(dockerfile.indexOf('USER node')).toBeLessThan(dockerfile.indexOf('ENTRYPOINT'))
  })

  test('copies only what the repository or the build has', () => {
    const copies = [...dockerfile.matchAll(/^COPY (?:--from=build )?(.*) \S+$/gm)].flatMap(([, from]) =>
      from!.split(' '),
    )
    const made = ['/app/node_modules', '/app/dist/src', '/app/dist/firmware-sim', '.']
    for (const path of copies.filter((copy) => !made.includes(copy))) {
      expect(existsSync(path.replace('/app/', '')), path).toBe(true)
    }
    const entry = /ENTRYPOINT \["node", "dist\/(.*)\.js"\]/.exec(dockerfile)?.[1]
    expect(existsSync(`${entry}.ts`)).toBe(true)
    expect(JSON.parse(readFileSync('package.json', 'utf8')).bin.sluicemq).toBe(`dist/${entry}.js`)
  })
})

describe('docker-compose.yml', () => {
  test('the broker alone starts with valid settings, for this machine only', () => {
    const { broker, redis } = compose.services
    expect(broker.profiles).toBeUndefined()
    expect(redis.profiles).toEqual(['redis', 'cluster'])
    const config = loadConfig({ env: { ...imageEnv, ...composeEnv({}) } })
    expect(config).toMatchObject({ store: 'lmdb', allowAnonymous: true, dataDir: '/data' })
    expect(broker.ports).toEqual([config.mqttPort, config.httpPort].map((port) => `127.0.0.1:${port}:${port}`))
    expect(broker.volumes).toEqual(['data:/data'])
    expect(Number.parseInt(broker.stop_grace_period, 10) * 1000).toBeGreaterThan(config.limits.shutdownMs)
  })

  test('the commands in its head give a broker with Redis', () => {
    const text = readFileSync('docker-compose.yml', 'utf8')
    const given = Object.fromEntries(
      [...text.matchAll(/(SLUICEMQ_\w+)=(\S+)/g)].map(([, name, value]) => [name, value] as [string, string]),
    )
    const config = loadConfig({ env: { ...imageEnv, ...composeEnv(given) } })
    expect(config.store).toBe('redis')
    expect(Object.keys(compose.services)).toContain(new URL(config.redisUrl as string).hostname)
  })

  test('the cluster profile is three nodes of different names on that Redis, behind a proxy that knows them', () => {
    const names = ['node1', 'node2', 'node3']
    const ids = names.map((name) => {
      const { environment, profiles } = compose.services[name]
      expect(profiles).toEqual(['cluster'])
      const config = loadConfig({ env: { ...imageEnv, ...environment } })
      expect(config.store).toBe('redis')
      return config.nodeId
    })
    expect(new Set(ids).size).toBe(3)
    const { content } = compose.configs.haproxy as { content: string }
    for (const name of names) expect(content).toContain(`server ${name} ${name}:1883`)
    expect(compose.services.proxy.depends_on).toEqual(names)
  })

  test('every volume that is used is declared', () => {
    for (const service of Object.values<{ volumes?: string[] }>(compose.services)) {
      for (const volume of service.volumes ?? []) expect(Object.keys(compose.volumes)).toContain(volume.split(':')[0])
    }
  })
})
