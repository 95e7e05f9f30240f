/** Command line values, each checked where it is read. */
import { InvalidArgumentError } from 'commander'
import type { QoS } from './account.ts'

/** A whole number between `least` and `most`. */
export function parseCount(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (text.trim() === '' || !Number.isInteger(value) || value < least || value > most) {
      throw new InvalidArgumentError(`a whole number from ${least} to ${most} is expected.`)
    }
    return value
  }
}

/** A rate per second, fractions allowed. */
export function parseRate(text: string): number {
  const value = Number(text)
  if (!(value > 0 && value <= 10_000)) throw new InvalidArgumentError('a number above 0, up to 10000, is expected.')
  return value
}

/** `500ms`, `30s`, `5m` or `1h`, in ms. */
export function parseDurationMs(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(text)
  if (match === null) throw new InvalidArgumentError('a time such as 500ms, 30s, 5m or 1h is expected.')
  const unitMs = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 }[match[2] as 'ms' | 's' | 'm' | 'h']
  return Math.round(Number(match[1]) * unitMs)
}

/** `1`, or `1,2` and the like. */
export function parseQos(text: string): QoS[] {
  const list = text.split(',').map((part) => part.trim())
  if (!list.every((part) => /^[012]$/.test(part))) {
    throw new InvalidArgumentError('0, 1, 2 or a list of these is expected.')
  }
  return list.map(Number) as QoS[]
}
