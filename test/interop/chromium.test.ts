/** A web page in headless Chromium with MQTT.js's bundle for browsers, over WebSocket. */
import { spawnSync } from 'node:child_process'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type InlineBroker, startBroker } from '../support/broker-inline.ts'
import { BrokerProcess } from '../support/broker-process.ts'
import { Browser, BrowserPage } from './chromium-browser.ts'

const installed = spawnSync('sh', ['-c', 'command -v chromium timeout']).status === 0

test.runIf(process.env.CI === 'true')('Chromium is installed (required when CI=true)', () => {
  expect(installed, 'install the Debian package chromium').toBe(true)
})

interface Message {
  topic: string
  /** In hexadecimal. */
  payload: string
  qos: number
  retain: boolean
  properties: Record<string, unknown>
}

const hex = (text: string) => Buffer.from(text).toString('hex')

describe.skipIf(!installed)('a page in Chromium (skipped when the package chromium is not installed)', () => {
  let page: BrowserPage
  let foreign: BrowserPage
  /** Allows `page` only. */
  let broker: BrokerProcess
  /** Allows `foreign` only. */
  let other: InlineBroker
  let browser: Browser

  beforeAll(async () => {
    page = await BrowserPage.serve()
    foreign = await BrowserPage.serve()
    browser = new Browser(page.origin)
    broker = await BrokerProcess.start({ config: { webSocket: { origins: [page.origin] } } })
    other = await startBroker({ webSocket: { origins: [foreign.origin] } })
    await page.shown(20_000).catch((error) => {
      throw new Error(`${error.message}; Chromium wrote: ${browser.output}`)
    })
  })
  afterAll(async () => {
    await browser?.close()
    await Promise.all([page?.close(), foreign?.close(), broker?.stop(), other?.stop()])
  })

  const receive = (name: string) => page.call<Message>('message', name)

  for (const protocolVersion of [3, 4, 5]) {
    describe(`MQTT.js, protocol ${protocolVersion}`, () => {
      const root = `page/${protocolVersion}`
      const version = { protocolVersion, ...(protocolVersion === 3 ? { protocolId: 'MQIsdp' } : {}) }

      test('subscribes and publishes at every QoS, with wildcards', async () => {
        const name = `qos${protocolVersion}`
        await page.call('open', name, broker.ws, version)
        expect(await page.call('subscribe', name, `${root}/qos/+`, { qos: 2 })).toEqual([2])
        for (const qos of [0, 1, 2]) {
          const topic = `${root}/qos/${qos}`
          await page.call('publish', name, topic, `at ${qos} ü`, { qos })
          expect(await receive(name)).toMatchObject({ topic, payload: hex(`at ${qos} ü`), qos, retain: false })
        }
        await page.call('end', name)
      })

      test('finds a retained message and removes it', async () => {
        const [first, second] = [`ret${protocolVersion}`, `later${protocolVersion}`]
        const topic = `${root}/state`
        await page.call('open', first, broker.ws, version)
        await page.call('publish', first, topic, 'on', { qos: 1, retain: true })
        await page.call('subscribe', first, topic, { qos: 1 })
        expect(await receive(first)).toMatchObject({ topic, payload: hex('on'), retain: true })
        await page.call('publish', first, topic, '', { qos: 1, retain: true })
        expect(await receive(first)).toMatchObject({ topic, payload: '', retain: false })
        await page.call('open', second, broker.ws, version)
        await page.call('subscribe', second, topic, { qos: 1 })
        await page.call('publish', second, topic, 'next', { qos: 1 })
        expect(await receive(second)).toMatchObject({ payload: hex('next'), retain: false })
        await page.call('end', first)
        await page.call('end', second)
      })
    })
  }

  test('300,000 bytes come back as they were', async () => {
    const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 31) % 256))
    await page.call('open', 'large', broker.ws, { protocolVersion: 5 })
    await page.call('subscribe', 'large', 'page/large', { qos: 1 })
    await page.call('publishBytes', 'large', 'page/large', bytes.length, { qos: 1 })
    expect((await receive('large')).payload === bytes.toString('hex')).toBe(true)
    await page.call('end', 'large')
  })

  test('properties travel [v5 MQTT-3.3.2-15] [v5 MQTT-3.3.2-17] [v5 MQTT-3.3.2-20]', async () => {
    const properties = {
      contentType: 'application/json',
      responseTopic: 'page/reply',
      payloadFormatIndicator: true,
      messageExpiryInterval: 100,
      userProperties: { unit: ['celsius', 'kelvin'], place: 'roof' },
    }
    await page.call('open', 'props', broker.ws, { protocolVersion: 5 })
    await page.call('subscribe', 'props', 'page/props', { qos: 1 })
    await page.call('publish', 'props', 'page/props', '{}', { qos: 1, properties })
    const received = await receive('props')
    expect(received.properties).toMatchObject({ ...properties, messageExpiryInterval: expect.any(Number) })
    await page.call('end', 'props')
  })

  for (const [how, signal] of [
    ['stops in good order', 'SIGTERM'],
    ['is killed', 'SIGKILL'],
  ] as const) {
    test(`a page that keeps its session goes on when the broker ${how} and starts again`, async () => {
      const name = `again${signal}`
      const topic = `page/${name}`
      // MQTT.js would subscribe again; here the broker has to remember.
      const properties = { sessionExpiryInterval: 60 }
      await page.call('open', name, broker.ws, { protocolVersion: 5, clean: false, resubscribe: false, properties })
      await page.call('subscribe', name, topic, { qos: 2 })
      await page.call('publish', name, `${topic}/kept`, 'kept', { qos: 1, retain: true })
      await broker.kill(signal)
      await page.call('closed', name)
      const published = page.call('publish', name, topic, 'meanwhile', { qos: 2 })
      await broker.start()
      expect(await page.call('connected', name)).toEqual({ sessionPresent: true })
      await published
      expect(await receive(name)).toMatchObject({ topic, payload: hex('meanwhile'), qos: 2 })
      await page.call('subscribe', name, `${topic}/kept`, { qos: 1 })
      expect(await receive(name)).toMatchObject({ payload: hex('kept'), retain: true })
      await page.call('end', name)
    })
  }

  test('a page of a foreign origin is refused, one whose origin is allowed is not', async () => {
    await page.call('show', foreign.origin)
    await foreign.shown(15_000)
    const opened = { opened: true, protocol: 'mqtt' }
    const refused = { opened: false, code: 1006 }
    expect(await page.call('webSocket', broker.ws)).toEqual(opened)
    expect(await foreign.call('webSocket', broker.ws)).toEqual(refused)
    expect(await foreign.call('webSocket', other.ws)).toEqual(opened)
    expect(await page.call('webSocket', other.ws)).toEqual(refused)
  })
})
