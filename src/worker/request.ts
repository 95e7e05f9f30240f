import http from 'node:http'
import https from 'node:https'

export interface Answer {
  readonly status: number
  readonly text: string
}

/** One POST with a JSON body. Rejects when there is no answer, or when the signal is aborted. */
export type Request = (
  url: string,
  headers: Record<string, string>,
  body: string,
  signal: AbortSignal,
) => Promise<Answer>

/** By Node's own HTTP client over kept connections: about a third of what `fetch` costs. */
export function nodeRequest(): Request {
  const agents = { 'http:': new http.Agent({ keepAlive: true }), 'https:': new https.Agent({ keepAlive: true }) }
  const send = (url: string, headers: Record<string, string>, body: string, signal: AbortSignal): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const secure = url.startsWith('https:')
      const options = {
        method: 'POST',
        agent: agents[secure ? 'https:' : 'http:'],
        headers: { ...headers, 'content-length': Buffer.byteLength(body) },
        signal,
      }
      const request = (secure ? https : http).request(url, options, (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('end', () => {
          const bytes = chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)
          resolve({ status: response.statusCode!, text: bytes.toString() })
        })
        response.on('error', reject)
      })
      request.on('error', (error: NodeJS.ErrnoException) => {
        // A kept connection that the broker closed just now: nothing was asked yet.
        if (request.reusedSocket && error.code === 'ECONNRESET' && !signal.aborted)
          resolve(send(url, headers, body, signal))
        else reject(error)
      })
      request.end(body)
    })
  return send
}

/** By a `fetch` of the program's own. */
export function fetchRequest(fetchOption: typeof fetch): Request {
  return async (url, headers, body, signal) => {
    const response = await fetchOption(url, { method: 'POST', headers, body, signal })
    return { status: response.status, text: await response.text() }
  }
}
