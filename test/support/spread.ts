/** What stands in front of several nodes, as a balancer of connections would. */
import net from 'node:net'

export interface Address {
  host: string
  port: number
}

/** How many nodes a test's broker is made of: `TEST_NODES`, 1 unless vitest.two-nodes.config.ts is in use. */
export const nodesOfTests: number = Number(process.env['TEST_NODES'] ?? '1')

/** What Prometheus hears from all nodes of a broker. */
export async function metricsOf({ nodes }: { readonly nodes: readonly string[] }): Promise<string> {
  return (await Promise.all(nodes.map(async (http) => (await fetch(`${http}/metrics`)).text()))).join('\n')
}

export interface Listening {
  readonly address: Address
  close(): Promise<void>
}

/** Listens on a free loopback port and gives every connection to `handle`. */
export async function serve(handle: (socket: net.Socket) => void, options: net.ServerOpts = {}): Promise<Listening> {
  const server = net.createServer(options, handle)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = { host: '127.0.0.1', port: (server.address() as net.AddressInfo).port }
  return { address, close: () => new Promise((resolve) => server.close(() => resolve())) }
}

/** Members in turn, beginning with the first. */
export function inTurn<T>(members: readonly T[]): () => T {
  let next = 0
  return () => members[next++ % members.length]!
}

/**
 * A listener that hands each new connection to the next of the addresses. It passes on what either side says and how it
 * ends: in good order, half of it, or with a reset.
 */
export async function spread(addresses: readonly Address[]): Promise<Listening> {
  const next = inTurn(addresses)
  const pairs = new Set<net.Socket>()
  const server = await serve(
    (near) => {
      const far = net.connect({ ...next(), noDelay: true, allowHalfOpen: true })
      join(near, far)
      join(far, near)
      pairs.add(near)
      near.once('close', () => pairs.delete(near))
    },
    { allowHalfOpen: true, noDelay: true },
  )
  return {
    address: server.address,
    async close() {
      const closed = server.close()
      for (const near of pairs) near.destroy()
      await closed
    },
  }
}

/** One direction. */
function join(from: net.Socket, to: net.Socket): void {
  from.on('data', (bytes) => {
    if (!to.write(bytes)) from.pause()
  })
  to.on('drain', () => from.resume())
  from.on('end', () => to.end())
  from.on('error', () => to.resetAndDestroy())
  from.on('close', () => {
    if (!to.writableFinished) to.destroySoon()
  })
}
