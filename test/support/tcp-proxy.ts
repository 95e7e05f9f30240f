/** A line between a program and a server that can be disturbed as networks are: cut, silent, deaf, slow, half closed. */
import net from 'node:net'

/** `up`: what the program sends to the server; `down`: what the server sends. */
export type Direction = 'up' | 'down' | 'both'

/** One direction of one connection. */
class Flow {
  readonly #from: net.Socket
  readonly #to: net.Socket
  #held = false
  #delayMs = 0
  /** Bytes on their way, and what they wait for. */
  #tail: Promise<void> = Promise.resolve()
  #queued = 0
  #release: () => void = () => {}
  #gate: Promise<void> | null = null

  constructor(from: net.Socket, to: net.Socket) {
    this.#from = from
    this.#to = to
    from.on('data', (bytes) => this.#pass(() => void to.write(bytes)))
    from.on('end', () => this.#pass(() => void to.end()))
  }

  /** Nothing arrives while held; what was sent meanwhile arrives afterwards, as TCP has it. */
  hold(on: boolean): void {
    if (on === this.#held) return
    this.#held = on
    if (on) {
      this.#gate = new Promise((resolve) => {
        this.#release = resolve
      })
      this.#from.pause()
    } else {
      this.#gate = null
      this.#release()
      this.#from.resume()
    }
  }

  delay(ms: number): void {
    this.#delayMs = ms
  }

  /** The receiving side is told that nothing more comes. */
  end(): void {
    this.#pass(() => void this.#to.end())
  }

  #pass(go: () => void): void {
    if (this.#gate === null && this.#delayMs === 0 && this.#queued === 0) return go()
    const dueAt = performance.now() + this.#delayMs
    this.#queued++
    this.#tail = this.#tail.then(async () => {
      const leftMs = dueAt - performance.now()
      if (leftMs > 0) await new Promise((resolve) => setTimeout(resolve, leftMs))
      while (this.#gate !== null) await this.#gate
      this.#queued--
      if (!this.#to.destroyed) go()
    })
  }
}

interface Pair {
  readonly near: net.Socket
  readonly far: net.Socket
  readonly up: Flow
  readonly down: Flow
}

export class TcpProxy {
  readonly #server: net.Server
  readonly #pairs = new Set<Pair>()
  /** Stand, and nothing comes through any more. */
  readonly #forgotten = new Set<Pair>()
  #cut = false
  #held: Direction | null = null
  #delayMs = 0

  private constructor(target: number) {
    this.#server = net.createServer({ allowHalfOpen: true, noDelay: true }, (near) => this.#accept(near, target))
  }

  static async start(target: number): Promise<TcpProxy> {
    const proxy = new TcpProxy(target)
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve))
    return proxy
  }

  get port(): number {
    return (this.#server.address() as net.AddressInfo).port
  }

  #accept(near: net.Socket, target: number): void {
    near.on('error', () => {})
    if (this.#cut) {
      near.resetAndDestroy()
      return
    }
    const far = net.connect({ port: target, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
    const pair: Pair = { near, far, up: new Flow(near, far), down: new Flow(far, near) }
    this.#pairs.add(pair)
    const end = (): void => {
      this.#pairs.delete(pair)
      this.#forgotten.delete(pair)
      near.destroy()
      far.destroy()
    }
    far.on('error', end)
    for (const socket of [near, far]) socket.on('close', end)
    this.#apply(pair)
  }

  #apply({ up, down }: Pair): void {
    for (const flow of [up, down]) flow.delay(this.#delayMs)
    up.hold(this.#held === 'up' || this.#held === 'both')
    down.hold(this.#held === 'down' || this.#held === 'both')
  }

  #applyAll(): void {
    for (const pair of this.#pairs) this.#apply(pair)
  }

  /** Every connection is reset, and so is every new one until `heal`. */
  cut(): void {
    this.#cut = true
    this.reset()
  }

  /** Every connection is reset, with `all` also those that are forgotten; new ones are welcome. */
  reset(all = false): void {
    for (const { near, far } of [...this.#pairs, ...(all ? this.#forgotten : [])]) {
      near.resetAndDestroy()
      far.resetAndDestroy()
    }
  }

  /** Connections stand, new ones are accepted, and nothing comes through until `heal`. */
  silence(direction: Direction): void {
    this.#held = direction
    this.#applyAll()
  }

  /** Everything takes this much longer each way. */
  slow(ms: number): void {
    this.#delayMs = ms
    this.#applyAll()
  }

  /** One side of every connection is told that nothing more comes; the other goes on sending. */
  halfClose(direction: 'up' | 'down'): void {
    for (const pair of this.#pairs) pair[direction].end()
  }

  /**
   * Everything goes through again. What was held back arrives late; or never: those connections are reset, or, as by a firewall
   * that forgot them, stand for ever without a word.
   */
  heal(heldBack: 'late' | 'reset' | 'forgotten' = 'late'): void {
    if (heldBack === 'reset') this.reset()
    if (heldBack === 'forgotten') {
      for (const pair of this.#pairs) {
        pair.up.hold(true)
        pair.down.hold(true)
        this.#forgotten.add(pair)
      }
      this.#pairs.clear()
    }
    this.#cut = false
    this.#held = null
    this.#delayMs = 0
    this.#applyAll()
  }

  async stop(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    this.reset(true)
    await closed
  }
}
