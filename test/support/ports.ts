/**
 * Ports of loopback for servers that end and start again on the same one. While such a server is down its port is free for anybody, and
 * whoever listens on port 0 beside it may be given it; so these come from below the range from which the system gives, and
 * each worker of a test run has a part of its own.
 */
import fs from 'node:fs'
import net from 'node:net'

const FIRST = 10_000
/** Workers of one run that have a part of their own. */
const PARTS = 8
/** Fewer than that are not worth the trouble. */
const PART_MIN = 100

const given = new Set<number>()
let next = -1

/** A port on which nobody listens, and which nobody is given who does not ask here. */
export async function lastingPort(): Promise<number> {
  const size = Math.floor((lowestGiven() - FIRST) / PARTS)
  if (size < PART_MIN) return (await listens(0))!
  const first = FIRST + (Number(process.env['VITEST_POOL_ID'] ?? 0) % PARTS) * size
  // Where runs on the same machine begin differs, so that they seldom meet.
  if (next < 0) next = Math.floor(Math.random() * size)
  for (let tries = 0; tries < size; tries++) {
    const port = first + (next++ % size)
    if (given.has(port) || (await listens(port)) === null) continue
    given.add(port)
    return port
  }
  throw new Error(`no port is free from ${first} to ${first + size - 1}`)
}

/** The lowest port that the system gives to whoever does not care. */
function lowestGiven(): number {
  try {
    return Number.parseInt(fs.readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8'), 10)
  } catch {
    return 32_768
  }
}

/** The port on which one can listen; null: not on this one. */
function listens(port: number): Promise<number | null> {
  return new Promise((resolve) => {
    const server = net.createServer()
    server.once('error', () => resolve(null))
    server.listen(port, '127.0.0.1', () => {
      const found = (server.address() as net.AddressInfo).port
      server.close(() => resolve(found))
    })
  })
}
