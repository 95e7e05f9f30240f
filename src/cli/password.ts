const LINE_FEED = 10
const RETURN = 13
const BACKSPACE = 8
const DELETE = 127
const END_OF_TRANSMISSION = 4
const INTERRUPT = 3

/** stdin: a terminal has both. */
type Input = NodeJS.ReadableStream & { isTTY?: boolean; setRawMode?(on: boolean): unknown }

/**
 * The first line of the input. On a terminal the prompt is shown and what is typed is not.
 *
 * @throws Error when it is interrupted by Ctrl-C
 */
export async function readPassword(input: Input, prompt: string, show: (text: string) => void): Promise<string> {
  const terminal = input.isTTY === true
  if (!terminal) {
    const chunks: Buffer[] = []
    for await (const chunk of input) chunks.push(Buffer.from(chunk as Buffer))
    return Buffer.concat(chunks).toString().split(/\r?\n/, 1)[0]!
  }
  show(prompt)
  input.setRawMode?.(true)
  try {
    return (await typedLine(input)).toString()
  } finally {
    input.setRawMode?.(false)
    input.pause()
    show('\n')
  }
}

function typedLine(input: NodeJS.ReadableStream): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const typed: number[] = []
    const done = (finish: () => void): void => {
      input.off('data', take)
      finish()
    }
    const take = (bytes: Buffer): void => {
      for (const byte of bytes) {
        if (byte === RETURN || byte === LINE_FEED || byte === END_OF_TRANSMISSION)
          return done(() => resolve(Buffer.from(typed)))
        if (byte === INTERRUPT) return done(() => reject(new Error('interrupted')))
        if (byte !== BACKSPACE && byte !== DELETE) typed.push(byte)
        else {
          // A character may be several bytes: those that continue one, then the one that begins it.
          while (typed.length > 0 && (typed.at(-1)! & 0xc0) === 0x80) typed.pop()
          typed.pop()
        }
      }
    }
    input.on('data', take)
    input.resume()
  })
}
