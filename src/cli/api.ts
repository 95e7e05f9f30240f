/** Commands that talk to a running broker over its HTTP API. */
import { exitCodes } from './exit-codes.ts'
import type { ProcessPort } from './start.ts'

export const URL_BY_DEFAULT = 'http://127.0.0.1:8080'

/** The broker said no, or nothing. */
export class ApiError extends Error {
  readonly exitCode: number
  constructor(message: string, exitCode: number) {
    super(message)
    this.name = 'ApiError'
    this.exitCode = exitCode
  }
}

/**
 * One request to the API.
 * @param url address of the broker's HTTP port
 * @throws ApiError with the broker's words, or why it cannot be reached
 */
export async function callApi(url: string, method: string, path: string, body?: unknown): Promise<unknown> {
  const init = body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }
  let response: Response
  let text: string
  try {
    response = await fetch(`${url.replace(/\/+$/, '')}/api/v1${path}`, { method, ...init })
    text = await response.text()
  } catch (error) {
    const cause = (error as Error).cause
    const reason = cause instanceof Error ? cause.message : (error as Error).message
    throw new ApiError(`no broker answers at ${url}: ${reason}`, exitCodes.temporary.code)
  }
  if (response.ok) return text === '' ? null : (JSON.parse(text) as unknown)
  throw new ApiError(
    refusal(response.status, text),
    response.status >= 500 ? exitCodes.temporary.code : exitCodes.config.code,
  )
}

function refusal(status: number, text: string): string {
  try {
    const { error } = JSON.parse(text) as { error: { code: string; message: string; action: string } }
    return `${error.code}: ${error.message}\n${error.action}`
  } catch {
    return `HTTP status ${status}`
  }
}

/** Runs a command; what the broker refuses is printed and becomes the exit code. */
export async function speaking(process: Pick<ProcessPort, 'err'>, command: () => Promise<void>): Promise<number> {
  try {
    await command()
    return exitCodes.ok.code
  } catch (error) {
    if (!(error instanceof ApiError)) throw error
    process.err(`${error.message}\n`)
    return error.exitCode
  }
}

/** Rows under a heading, columns as wide as their longest entry. */
export function table(heading: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = heading.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]!.length)))
  const line = (row: readonly string[]): string =>
    row
      .map((cell, i) => cell.padEnd(widths[i]!))
      .join('  ')
      .trimEnd()
  return [heading, ...rows].map((row) => `${line(row)}\n`).join('')
}
