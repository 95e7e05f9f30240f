/** What a consumer group of a work queue has to do, in the simplest way: every message in one list. */

export interface Message {
  readonly payload: string
  readonly key: string
  readonly priority: number
  readonly deliverAt: number
  readonly expiresAt: number
  /** Its place in the order of its priority and key; given when it is ready for the first time. */
  place: number
  state: 'scheduled' | 'ready' | 'leased' | 'delayed'
  attempt: number
  /** Comes back before what was never handed out, unless a restart made it forgotten. */
  handedOut: boolean
  /** End of lease or delay, monotonic ms. */
  until: number
  receipt: string
  /** Came back from the dead letters: among others of its priority it may stand anywhere. */
  redriven: boolean
}

export type Entered = Pick<Message, 'payload' | 'key' | 'priority' | 'deliverAt' | 'expiresAt'>

export interface ReferenceSettings {
  maxAttempts: number
  backoffMs: number
}

export class Reference {
  messages: Message[] = []
  readonly dead: Message[] = []
  /** Messages whose time was over before anybody took them. */
  readonly expired: string[] = []
  /** Receipts that no longer count. */
  readonly old: string[] = []
  readonly #settings: ReferenceSettings
  #places = 0

  constructor(settings: ReferenceSettings) {
    this.#settings = settings
  }

  enter(message: Entered, now: number): void {
    const scheduled = message.deliverAt > now
    this.messages.push({
      ...message,
      place: scheduled ? 0 : ++this.#places,
      state: scheduled ? 'scheduled' : 'ready',
      attempt: 0,
      handedOut: false,
      until: 0,
      receipt: '',
      redriven: false,
    })
  }

  /** The dead letters come back: at the end of the line, with all their attempts, and without the times they had. */
  redrive(): void {
    for (const message of this.dead.splice(0)) {
      const again = { ...message, deliverAt: 0, expiresAt: Number.POSITIVE_INFINITY, redriven: true }
      this.messages.push({ ...again, place: ++this.#places, state: 'ready', attempt: 0, handedOut: false })
    }
  }

  get leased(): Message[] {
    return this.messages.filter(({ state }) => state === 'leased')
  }

  /** Messages that may be handed out now. */
  available(now: number): Message[] {
    this.#expire(now)
    return this.messages.filter((message) => message.state === 'ready' && this.#isFirstOfKey(message))
  }

  /** Nobody holds an earlier message of its key, and none waits. */
  #isFirstOfKey(message: Message): boolean {
    if (message.key === '') return true
    return !this.messages.some(
      ({ key, place, state }) => key === message.key && state !== 'scheduled' && place < message.place,
    )
  }

  #expire(now: number): void {
    for (const message of [...this.messages]) {
      if (message.state !== 'ready' || message.expiresAt > now) continue
      // It stays until somebody comes to take it; until then it holds its key as any other.
      if (!this.#isFirstOfKey(message)) continue
      this.remove(message)
      this.expired.push(message.payload)
      this.#expire(now)
      return
    }
  }

  take(message: Message, receipt: string, until: number): void {
    message.state = 'leased'
    message.attempt++
    message.handedOut = true
    message.until = until
    message.receipt = receipt
  }

  fail(message: Message, at: number, delayMs: number, reject = false): void {
    this.old.push(message.receipt)
    if (reject || message.attempt >= this.#settings.maxAttempts) {
      this.remove(message)
      this.dead.push(message)
      return
    }
    message.state = delayMs > 0 ? 'delayed' : 'ready'
    message.until = at + delayMs
  }

  release(message: Message): void {
    this.old.push(message.receipt)
    message.state = 'ready'
    message.attempt--
  }

  ack(message: Message): void {
    this.old.push(message.receipt)
    this.remove(message)
  }

  remove(message: Message): void {
    this.messages = this.messages.filter((other) => other !== message)
  }

  /** A restart forgets that a message was handed out that never failed. */
  restarted(): void {
    for (const message of this.messages) if (message.state === 'ready') message.handedOut = message.attempt > 0
  }

  /** Time has moved on. */
  passTo(now: number, wall: number): void {
    for (const message of [...this.messages]) {
      if (message.state === 'leased' && message.until <= now)
        this.fail(message, message.until, this.#settings.backoffMs)
      if (message.state === 'delayed' && message.until <= now) message.state = 'ready'
    }
    const due = this.messages.filter(({ state, deliverAt }) => state === 'scheduled' && deliverAt <= wall)
    for (const message of due.sort((a, b) => a.deliverAt - b.deliverAt)) {
      message.state = 'ready'
      message.place = ++this.#places
    }
  }
}
