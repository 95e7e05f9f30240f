import { z } from 'zod'

export const KIB = 1024
export const MIB = 1024 * KIB

/** A whole number with its range, default and one sentence for the reference page. */
export function integer(min: number, max: number, byDefault: number, text: string) {
  return z.int().min(min).max(max).default(byDefault).describe(text)
}
