/** What the store has to know about messages to lay them out for others; given by who knows their stored form. */
export interface MessageParts {
  readonly topic: string
  readonly clientId: string
  readonly qos: 0 | 1 | 2
  readonly retain: boolean
  /** ms since 1970. */
  readonly time: number
  /** Where the payload begins in the stored form; it goes up to the end. */
  readonly payloadStart: number
}

export interface MessageCodec {
  /** Null: the bytes are not a stored message. */
  parts(message: Buffer): MessageParts | null
  /** The stored form of a message that another program left. */
  encode(message: {
    topic: string
    clientId: string
    qos: 0 | 1 | 2
    retain: boolean
    time: number
    payload: Buffer
  }): Buffer
}
