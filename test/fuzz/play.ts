import net from 'node:net'
import { RawPacketReader, type Version } from '../support/raw-packets.ts'

/** What one connection says, and how it behaves. */
export interface Play {
  /** Written one after the other, each in its own segment as far as TCP lets us. */
  readonly pieces: readonly Buffer[]
  /** The version in which the broker has to answer; null: the CONNECT is spoiled, and anything may come. */
  readonly version: Version | null
  /** What happens when everything is said: FIN, or RST. */
  readonly leave: 'end' | 'reset'
  /** It never reads what the broker says. */
  readonly deaf: boolean
}

/** How long the broker has to answer after the last piece, in ms. */
const listenMs = 15
/** How long a closed connection may take to end, in ms. */
const goneMs = 2000

/**
 * Plays one conversation. Resolves when the connection is gone: with null, or with what is wrong with the broker: it
 * takes no connection, or says what no broker may say.
 */
export function play(
  address: { host: string; port: number },
  { pieces, version, leave, deaf }: Play,
): Promise<string | null> {
  return new Promise((resolve) => {
    const reader = new RawPacketReader()
    if (version !== null) reader.version = version
    let wrong: string | null = null
    let connected = false
    const socket = net.connect({ ...address, noDelay: true })
    let timer: NodeJS.Timeout | undefined
    const go = (): void => {
      if (leave === 'reset') socket.resetAndDestroy()
      else {
        socket.end()
        socket.resume()
        timer = setTimeout(() => socket.destroy(), goneMs)
      }
    }
    const say = (at: number): void => {
      if (socket.destroyed) return
      if (at === pieces.length) {
        timer = setTimeout(go, listenMs)
        return
      }
      socket.write(pieces[at]!)
      setImmediate(say, at + 1)
    }
    socket.on('connect', () => {
      connected = true
      if (deaf) socket.pause()
      say(0)
    })
    if (!deaf) {
      socket.on('data', (bytes) => {
        if (version === null || wrong !== null) return
        try {
          reader.push(bytes, () => {})
        } catch (error) {
          wrong = `the broker said what no broker may say: ${(error as Error).message} (${bytes.toString('hex').slice(0, 400)})`
        }
      })
    }
    socket.on('end', () => socket.end())
    // Being reset is a way to be refused.
    socket.on('error', (error) => {
      if (!connected) wrong = `the broker takes no connection: ${error.message}`
    })
    socket.on('close', () => {
      clearTimeout(timer)
      resolve(wrong)
    })
  })
}
