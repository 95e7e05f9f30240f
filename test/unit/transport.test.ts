import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { connect, type Socket } from 'node:net'
import { Duplex, PassThrough } from 'node:stream'
import { afterEach, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import type { Clock } from '../../src/base/clock.ts'
import { SluiceError } from '../../src/errors.ts'
import type { ByteStream, StreamHandler } from '../../src/transport.ts'
import { duplexStream } from '../../src/transports/duplex.ts'
import { tcpListener } from '../../src/transports/tcp.ts'
import { websocketListener } from '../../src/transports/websocket.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

/** Records what a stream says; `until` resolves as soon as the condition holds after one of its calls. */
class Recorder implements StreamHandler {
  bytes = Buffer.alloc(0)
  frames = 0
  drains = 0
  closes: (Error | null)[] = []
  onData: ((bytes: Buffer) => void) | null = null
  #waiting: { condition: () => boolean; resolve: () => void }[] = []

  data(bytes: Buffer): void {
    this.bytes = Buffer.concat([this.bytes, bytes])
    this.frames++
    this.onData?.(bytes)
    this.#check()
  }
  drain(): void {
    this.drains++
    this.#check()
  }
  closed(error: Error | null): void {
    this.closes.push(error)
    this.#check()
  }
  until(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push({ condition, resolve })
      this.#check()
    })
  }
  #check(): void {
    this.#waiting = this.#waiting.filter(({ condition, resolve }) => {
      if (condition()) resolve()
      return !condition()
    })
  }
}

function deferred<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => {}
  const promise = new Promise<T>((r) => {
    resolve = r
  })
  return { promise, resolve }
}

/** Lets the event loop look for input `count` times. */
async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve))
}

interface Pair {
  stream: ByteStream
  recorder: Recorder
  peer: Socket
}

async function tcpPair(): Promise<Pair> {
  const { promise, resolve } = deferred<ByteStream>()
  const listener = tcpListener({ host: '127.0.0.1', port: 0, backlog: 16 }, resolve)
  const { host, port } = await listener.listen()
  const peer = connect(port, host)
  peer.on('error', () => {})
  const stream = await promise
  const recorder = new Recorder()
  stream.setHandler(recorder)
  cleanups.push(
    () => listener.close(),
    () => stream.destroy(),
    () => peer.destroy(),
  )
  return { stream, recorder, peer }
}

async function webSocketServer(
  origins: string[] = [],
): Promise<{ url: string; server: Server; next: () => Promise<ByteStream> }> {
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk) => {
      body += chunk
    })
    request.on('end', () => response.end(`${request.method} ${request.url} ${body}`))
  })
  const accepted: ByteStream[] = []
  const waiting: ((stream: ByteStream) => void)[] = []
  const listener = websocketListener(server, { path: '/mqtt', packetBytesMax: 1000, origins }, (stream) => {
    cleanups.push(() => stream.destroy())
    const waiter = waiting.shift()
    if (waiter === undefined) accepted.push(stream)
    else waiter(stream)
  })
  const listening = listener.listen()
  server.listen(0, '127.0.0.1')
  const { port } = await listening
  cleanups.push(
    () => server.closeAllConnections(),
    () => server.close(),
  )
  const next = (): Promise<ByteStream> =>
    new Promise((resolve) => {
      const stream = accepted.shift()
      if (stream === undefined) waiting.push(resolve)
      else resolve(stream)
    })
  return { url: `ws://127.0.0.1:${port}/mqtt`, server, next }
}

async function webSocketPair(): Promise<{ stream: ByteStream; recorder: Recorder; peer: WebSocket }> {
  const { url, next } = await webSocketServer()
  const peer = new WebSocket(url, ['mqtt'])
  peer.on('error', () => {})
  const [stream] = await Promise.all([next(), once(peer, 'open')])
  const recorder = new Recorder()
  stream.setHandler(recorder)
  cleanups.push(() => peer.terminate())
  return { stream, recorder, peer }
}

/** Status line of what the server answers to an upgrade that is refused. */
async function refusal(url: string, protocols: string[], options = {}): Promise<number> {
  const peer = new WebSocket(url, protocols, options)
  const [, response] = await once(peer, 'unexpected-response')
  return response.statusCode
}

describe('TCP', () => {
  test('carries bytes both ways and names the peer', async () => {
    const { stream, recorder, peer } = await tcpPair()
    expect(stream.peer).toMatchObject({ protocol: 'tcp', address: '127.0.0.1', port: peer.localPort })
    peer.write('to the broker')
    await recorder.until(() => recorder.bytes.length === 13)
    expect(recorder.bytes.toString()).toBe('to the broker')
    const received = once(peer, 'data')
    stream.write(Buffer.from('to the client'))
    expect((await received)[0].toString()).toBe('to the client')
  })

  test('reads all connections into the same memory', async () => {
    const pairs = [await tcpPair(), await tcpPair()]
    const memories = new Set<ArrayBufferLike>()
    for (const { peer, recorder } of pairs) {
      recorder.onData = (bytes) => memories.add(bytes.buffer)
      for (const text of ['abc', 'defgh']) {
        const before = recorder.bytes.length
        peer.write(text)
        await recorder.until(() => recorder.bytes.length === before + text.length)
      }
      expect(recorder.bytes.toString()).toBe('abcdefgh')
    }
    expect(memories.size).toBe(1)
  })

  test('reads little from a newcomer, and more from one that sends much', async () => {
    const { recorder, peer } = await tcpPair()
    const reads: number[] = []
    recorder.onData = (bytes) => reads.push(bytes.length)
    const sent = 2 * 1024 * 1024
    peer.write(Buffer.alloc(sent, 'x'))
    await recorder.until(() => recorder.bytes.length === sent)
    expect(recorder.bytes.equals(Buffer.alloc(sent, 'x'))).toBe(true)
    expect(reads[0]).toBeLessThanOrEqual(16 * 1024)
    expect(Math.max(...reads)).toBeGreaterThan(16 * 1024)
  })

  test('a port in use is an address_in_use that names the port', async () => {
    const first = tcpListener({ host: '127.0.0.1', port: 0, backlog: 1 }, () => {})
    const { port } = await first.listen()
    cleanups.push(() => first.close())
    const second = tcpListener({ host: '127.0.0.1', port, backlog: 1 }, () => {})
    const error = await second.listen().catch((e) => e)
    expect(error).toBeInstanceOf(SluiceError)
    expect(error.code).toBe('address_in_use')
    expect(error.message).toContain(`${port}`)
  })

  test('after close nobody connects any more and standing connections go on', async () => {
    const { promise, resolve } = deferred<ByteStream>()
    const listener = tcpListener({ host: '127.0.0.1', port: 0, backlog: 4 }, resolve)
    const { port } = await listener.listen()
    const peer = connect(port, '127.0.0.1')
    cleanups.push(() => peer.destroy())
    const stream = await promise
    const recorder = new Recorder()
    stream.setHandler(recorder)
    await listener.close()
    const [error] = await once(connect(port, '127.0.0.1'), 'error')
    expect(error.code).toBe('ECONNREFUSED')
    peer.write('x')
    await recorder.until(() => recorder.bytes.length === 1)
  })

  test('write says when to wait, counts what is unsent, and drain follows', async () => {
    const { stream, recorder, peer } = await tcpPair()
    peer.pause()
    let written = 0
    let waits = 0
    const chunk = Buffer.alloc(256 * 1024)
    // The operating system takes some megabytes; more than that must stay with us.
    while (stream.bufferedBytes < 2 * chunk.length) {
      if (
        !stream.write(chunk, () => {
          written++
        })
      )
        waits++
    }
    expect(waits).toBeGreaterThan(0)
    expect(written).toBeLessThan(waits)
    peer.resume()
    await recorder.until(() => recorder.drains === 1)
    expect(stream.bufferedBytes).toBe(0)
  })

  test('every written callback is called once when the connection dies with bytes unsent', async () => {
    const { stream, recorder, peer } = await tcpPair()
    peer.pause()
    const calls: number[] = []
    const chunk = Buffer.alloc(256 * 1024)
    let sent = 0
    while (stream.bufferedBytes < 2 * chunk.length) {
      const at = sent++
      calls[at] = 0
      stream.write(chunk, () => {
        calls[at]!++
      })
    }
    stream.destroy()
    await recorder.until(() => recorder.closes.length === 1)
    stream.write(chunk, () => {
      calls[sent] = 1
    })
    expect(calls).toEqual(new Array(sent + 1).fill(1))
  })

  test('pause stops the bytes and resume brings them all', async () => {
    const { stream, recorder, peer } = await tcpPair()
    recorder.onData = () => stream.pause()
    peer.write('first')
    await recorder.until(() => recorder.frames === 1)
    await new Promise((resolve) => peer.write('second', resolve))
    await turns(5)
    expect(recorder.bytes.toString()).toBe('first')
    recorder.onData = null
    stream.resume()
    await recorder.until(() => recorder.bytes.length === 11)
    expect(recorder.bytes.toString()).toBe('firstsecond')
  })

  test('closed is called once after a reset by the peer, with the error', async () => {
    const { recorder, peer } = await tcpPair()
    peer.write('x')
    await recorder.until(() => recorder.frames === 1)
    peer.resetAndDestroy()
    await recorder.until(() => recorder.closes.length === 1)
    expect((recorder.closes[0] as NodeJS.ErrnoException).code).toBe('ECONNRESET')
  })

  test('end sends what is queued before it closes, though the peer is still sending', async () => {
    const { stream, recorder, peer } = await tcpPair()
    const received: Buffer[] = []
    peer.on('data', (bytes) => received.push(bytes))
    peer.write(Buffer.alloc(100_000))
    const last = Buffer.alloc(300_000, 7)
    stream.write(last)
    stream.end()
    await once(peer, 'end')
    expect(Buffer.concat(received).equals(last)).toBe(true)
    peer.end()
    await recorder.until(() => recorder.closes.length === 1)
    expect(recorder.closes).toEqual([null])
  })

  test('nothing is reported after end but the close', async () => {
    const { stream, recorder, peer } = await tcpPair()
    stream.end()
    peer.write('late')
    peer.end()
    await recorder.until(() => recorder.closes.length === 1)
    expect(recorder.frames).toBe(0)
  })

  test('a handler that throws costs its connection, not the process', async () => {
    const { recorder, peer } = await tcpPair()
    recorder.onData = () => {
      throw new Error('bug')
    }
    peer.write('x')
    await recorder.until(() => recorder.closes.length === 1)
    expect((recorder.closes[0] as SluiceError).code).toBe('invariant')
  })
})

describe('a Duplex', () => {
  const nowhere = { protocol: 'stream', address: '', port: 0 } as const

  /** A clock whose timers run when the test says so. */
  function handClock(): Clock & { run(): void } {
    let timers: (() => void)[] = []
    return {
      now: () => 0,
      monotonic: () => 0,
      after(_ms, fn) {
        timers.push(fn)
        return () => {
          timers = timers.filter((timer) => timer !== fn)
        }
      },
      run() {
        for (const timer of timers.splice(0)) timer()
      },
    }
  }

  test('an error before there is a handler waits for it', async () => {
    const source = new PassThrough()
    const stream = duplexStream(source, nowhere)
    source.destroy(new Error('gone'))
    await new Promise((resolve) => source.on('close', resolve))
    const recorder = new Recorder()
    stream.setHandler(recorder)
    await recorder.until(() => recorder.closes.length > 0)
    expect(recorder.closes).toEqual([new Error('gone')])
  })

  test('end with a peer that takes nothing cuts the stream once there is no progress', async () => {
    const clock = handClock()
    const taken: (() => void)[] = []
    const source = new Duplex({ read() {}, write: (_chunk, _encoding, done) => void taken.push(done) })
    const stream = duplexStream(source, nowhere, clock)
    const recorder = new Recorder()
    stream.setHandler(recorder)
    stream.write(Buffer.alloc(10))
    stream.write(Buffer.alloc(10))
    stream.end()
    taken.shift()!()
    clock.run()
    expect(source.destroyed).toBe(false)
    clock.run()
    expect(source.destroyed).toBe(true)
    await recorder.until(() => recorder.closes.length === 1)
  })
})

describe('WebSocket', () => {
  test('selects the subprotocol mqtt, whatever else is offered [v5 MQTT-6.0.0-4]', async () => {
    const { url } = await webSocketServer()
    for (const [offered, chosen] of [
      [['mqtt'], 'mqtt'],
      [['mqttv3.1'], 'mqttv3.1'],
      [['other', 'mqttv3.1', 'mqtt'], 'mqtt'],
    ] as const) {
      const peer = new WebSocket(url, [...offered])
      await once(peer, 'open')
      expect(peer.protocol).toBe(chosen)
      peer.terminate()
    }
  })

  test('refuses an upgrade without the subprotocol [v5 MQTT-6.0.0-3] and on another path', async () => {
    const { url } = await webSocketServer()
    expect(await refusal(url, ['soap'])).toBe(400)
    expect(await refusal(url, [])).toBe(400)
    expect(await refusal(`${url}/else`, ['mqtt'])).toBe(404)
  })

  test('lets pages of the same host and of webSocket.origins connect, and no others', async () => {
    const { url } = await webSocketServer(['https://app.example.com'])
    expect(await refusal(url, ['mqtt'], { origin: 'https://evil.example.com' })).toBe(403)
    expect(await refusal(url, ['mqtt'], { origin: 'null' })).toBe(403)
    for (const origin of ['https://app.example.com', new URL(url.replace('ws:', 'http:')).origin]) {
      const peer = new WebSocket(url, ['mqtt'], { origin })
      await once(peer, 'open')
      peer.terminate()
    }
  })

  test('a server that cannot listen is an address_in_use that names the port', async () => {
    const { server } = await webSocketServer()
    const { port } = server.address() as { port: number }
    const second = createServer()
    const listening = websocketListener(second, { path: '/mqtt', packetBytesMax: 1000 }, () => {}).listen()
    second.listen(port, '127.0.0.1')
    const error = await listening.catch((e) => e)
    expect(error.code).toBe('address_in_use')
    expect(error.message).toContain(`${port} of 127.0.0.1`)
  })

  test('packets may share and span frames [v5 MQTT-6.0.0-2]', async () => {
    const { recorder, peer } = await webSocketPair()
    peer.send(Buffer.from('ab'))
    peer.send(Buffer.from(''))
    peer.send(Buffer.from('cd'), { fin: false })
    peer.send(Buffer.from('ef'), { fin: true })
    await recorder.until(() => recorder.bytes.length === 6)
    expect(recorder.bytes.toString()).toBe('abcdef')
  })

  test('frames that were read together are handed on together', async () => {
    const { recorder, peer } = await webSocketPair()
    const socket = (peer as unknown as { _socket: Socket })._socket
    socket.cork()
    for (let i = 0; i < 100; i++) peer.send(Buffer.from([i]))
    socket.uncork()
    await recorder.until(() => recorder.bytes.length === 100)
    expect([...recorder.bytes]).toEqual(Array.from({ length: 100 }, (_, i) => i))
    expect(recorder.frames).toBeLessThan(10)
  })

  test('sends binary frames [v5 MQTT-6.0.0-1]', async () => {
    const { stream, peer } = await webSocketPair()
    const received = once(peer, 'message')
    stream.write(Buffer.from('hello'))
    const [data, isBinary] = await received
    expect(isBinary).toBe(true)
    expect(data.toString()).toBe('hello')
  })

  test('closes on a text frame [v5 MQTT-6.0.0-1]', async () => {
    const { recorder, peer } = await webSocketPair()
    peer.send('text')
    const [code] = await once(peer, 'close')
    expect(code).toBe(1003)
    await recorder.until(() => recorder.closes.length === 1)
    expect((recorder.closes[0] as SluiceError).code).toBe('protocol_error')
    expect(recorder.frames).toBe(0)
  })

  test('refuses a frame larger than the largest packet before keeping it', async () => {
    const { recorder, peer } = await webSocketPair()
    peer.send(Buffer.alloc(1000 + 64 * 1024 + 1))
    const [code] = await once(peer, 'close')
    expect(code).toBe(1009)
    await recorder.until(() => recorder.closes.length === 1)
    expect((recorder.closes[0] as SluiceError).code).toBe('packet_too_large')
  })

  test('pause stops the bytes and resume brings them all, in order', async () => {
    const { stream, recorder, peer } = await webSocketPair()
    recorder.onData = () => stream.pause()
    peer.send(Buffer.from('first'))
    await recorder.until(() => recorder.frames === 1)
    for (const text of ['second', 'third']) await new Promise((resolve) => peer.send(Buffer.from(text), resolve))
    await turns(5)
    expect(recorder.bytes.toString()).toBe('first')
    recorder.onData = null
    stream.resume()
    await recorder.until(() => recorder.bytes.length === 16)
    expect(recorder.bytes.toString()).toBe('firstsecondthird')
  })

  test('write says when to wait, counts what is unsent, and drain follows', async () => {
    const { stream, recorder, peer } = await webSocketPair()
    peer.pause()
    const chunk = Buffer.alloc(256 * 1024)
    let waits = 0
    while (stream.bufferedBytes < 2 * chunk.length) if (!stream.write(chunk)) waits++
    expect(waits).toBeGreaterThan(0)
    peer.resume()
    await recorder.until(() => recorder.drains > 0)
    expect(stream.bufferedBytes).toBe(0)
  })

  test('end sends what is queued, then closes with 1000', async () => {
    const { stream, recorder, peer } = await webSocketPair()
    let received = 0
    peer.on('message', (data: Buffer) => {
      received += data.length
    })
    stream.pause()
    stream.write(Buffer.alloc(500_000))
    stream.end()
    const [code] = await once(peer, 'close')
    expect(code).toBe(1000)
    expect(received).toBe(500_000)
    await recorder.until(() => recorder.closes.length === 1)
    expect(recorder.closes).toEqual([null])
  })

  test('answers a ping, and the close frame of the peer with its code', async () => {
    const { recorder, peer } = await webSocketPair()
    const pong = once(peer, 'pong')
    peer.ping('are you there')
    expect(String((await pong)[0])).toBe('are you there')
    peer.close(4321)
    expect((await once(peer, 'close'))[0]).toBe(4321)
    await recorder.until(() => recorder.closes.length === 1)
    expect(recorder.closes).toEqual([null])
  })

  test('bytes that follow the handshake at once are not lost', async () => {
    const { server, next } = await webSocketServer()
    const { port } = server.address() as { port: number }
    const socket = connect(port, '127.0.0.1')
    cleanups.push(() => socket.destroy())
    const frame = Buffer.from([0x82, 0x81, 0, 0, 0, 0, 0x78])
    const head = [
      'GET /mqtt HTTP/1.1',
      'Host: x',
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
    ]
    const more = ['Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==', 'Sec-WebSocket-Protocol: mqtt', '', '']
    socket.write(Buffer.concat([Buffer.from([...head, ...more].join('\r\n')), frame]))
    const stream = await next()
    const recorder = new Recorder()
    stream.setHandler(recorder)
    await recorder.until(() => recorder.bytes.length === 1)
    expect(recorder.bytes.toString()).toBe('x')
  })

  test('a dead peer closes once and calls every written callback', async () => {
    const { stream, recorder, peer } = await webSocketPair()
    peer.pause()
    const chunk = Buffer.alloc(256 * 1024)
    let sent = 0
    let written = 0
    while (stream.bufferedBytes < 2 * chunk.length) {
      sent++
      stream.write(chunk, () => {
        written++
      })
    }
    peer.terminate()
    stream.destroy()
    await recorder.until(() => recorder.closes.length === 1)
    expect(written).toBe(sent)
  })

  test('a request that offers h2c, as Java and curl do, is served as a plain one', async () => {
    const { server } = await webSocketServer()
    const { port } = server.address() as { port: number }
    const socket = connect(port, '127.0.0.1')
    cleanups.push(() => socket.destroy())
    const request = (body: string, more = ''): string =>
      `POST /api HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings${more}\r\nUpgrade: h2c\r\n` +
      `HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\nContent-Length: ${body.length}\r\n\r\n${body}`
    let answer = ''
    socket.on('data', (bytes) => {
      answer += bytes
    })
    socket.write(request('one'))
    while (!answer.includes('POST /api one')) await once(socket, 'data')
    socket.write(request('two', ', close'))
    await once(socket, 'end')
    expect(answer).toContain('POST /api two')
  })
})
