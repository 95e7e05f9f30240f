/**
 * Loaded with `node --import`: the test files of the aedes package, which import `../aedes.js` and `../lib/client.js`,
 * get our broker and our client, tests get a time limit, and fixed ports become free ones. The same file is the hook and
 * what registers it.
 */
import { register } from 'node:module'
import { isMainThread } from 'node:worker_threads'

if (isMainThread) register(import.meta.url)

const ours = new Map([
  ['../aedes.js', new URL('./stand-in.mjs', import.meta.url).href],
  ['../lib/client.js', new URL('./stand-in-client.mjs', import.meta.url).href],
  ['node:test', new URL('./limited-test.mjs', import.meta.url).href],
])
const suite = '/node_modules/aedes/test/'

export function resolve(specifier, context, next) {
  const url = context.parentURL?.includes(suite) ? ours.get(specifier) : undefined
  return url === undefined ? next(specifier, context) : { url, shortCircuit: true }
}

export async function load(url, context, next) {
  const loaded = await next(url, context)
  if (!url.includes(suite) || loaded.source === null || loaded.source === undefined) return loaded
  return { ...loaded, source: onFreePorts(loaded.source.toString()) }
}

/** Two tests listen on 1883 and 4883: neither may be free, and no test of ours takes a fixed port. */
function onFreePorts(source) {
  const moved = source
    .replaceAll(/const port = (1883|4883)\b/g, 'const port = await freePort()')
    .replaceAll("mqtt.connect('mqtt://localhost'", "mqtt.connect('mqtt://localhost:' + port")
  const ports = new URL('./free-port.mjs', import.meta.url).href
  return moved === source ? source : `import { freePort } from '${ports}'\n${moved}`
}
