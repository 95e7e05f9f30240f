import { connect, type Socket } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { createBroker } from '../../src/embed.ts'
import { tcpListener } from '../../src/transports/tcp.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

async function start(): Promise<{ broker: Awaited<ReturnType<typeof createBroker>>; client(id: string): Socket }> {
  const broker = await createBroker()
  const listener = tcpListener({ host: '127.0.0.1', port: 0, backlog: 16 }, (stream) => void broker.accept(stream))
  const { port } = await listener.listen()
  cleanups.push(
    () => new Promise<void>((resolve) => broker.close(resolve)),
    () => listener.close(),
  )
  const client = (id: string): Socket => {
    const socket = connect(port, '127.0.0.1')
    cleanups.push(() => socket.destroy())
    socket.on('error', () => {})
    const body = Buffer.concat([Buffer.from([0, 4]), Buffer.from('MQTT'), Buffer.from([4, 2, 0, 0, 0, id.length])])
    socket.write(Buffer.concat([Buffer.from([0x10, body.length + id.length]), body, Buffer.from(id)]))
    return socket
  }
  return { broker, client }
}

const connack = (socket: Socket): Promise<unknown> => new Promise((resolve) => socket.once('data', resolve))

test('broker.clients has the connected clients, each the same object as long as it is connected', async () => {
  const { broker, client } = await start()
  expect(Object.keys(broker.clients)).toEqual([])
  const sockets = [client('one'), client('two')]
  await Promise.all(sockets.map(connack))
  expect(Object.keys(broker.clients).sort()).toEqual(['one', 'two'])
  expect('one' in broker.clients).toBe(true)
  expect(broker.clients['three']).toBeUndefined()
  expect(broker.connectedClients).toBe(2)
  const one = broker.clients['one']!
  expect(one.id).toBe('one')
  expect(Object.values(broker.clients)).toContain(one)
  const left = new Promise((resolve) => broker.once('clientDisconnect', resolve))
  sockets[0]!.destroy()
  expect(await left).toBe(one)
  expect(Object.keys(broker.clients)).toEqual(['two'])
  expect(broker.connectedClients).toBe(1)
})

test('every event of a client shows the same object, and a listener added later too', async () => {
  const { broker, client } = await start()
  const seen: unknown[] = []
  broker.on('client', (c) => seen.push(c))
  const ready = new Promise((resolve) => broker.on('clientReady', resolve))
  client('one')
  expect(await ready).toBe(seen[0])
  expect(broker.clients['one']).toBe(seen[0])
})

test('closing a client through the registry ends its connection', async () => {
  const { broker, client } = await start()
  const socket = client('one')
  await connack(socket)
  const closed = new Promise((resolve) => socket.once('close', resolve))
  broker.clients['one']!.close()
  await closed
  expect(broker.clients['one']).toBeUndefined()
})
