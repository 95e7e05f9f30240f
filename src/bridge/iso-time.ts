/** ISO 8601 of times that mostly lie close together: the part up to the second is kept from one call to the next. */
export class IsoTimes {
  #second = Number.NaN
  #prefix = ''

  /** @param ms wall clock, whole ms since 1970 */
  format(ms: number): string {
    const second = Math.floor(ms / 1000)
    if (second !== this.#second) {
      this.#second = second
      this.#prefix = new Date(second * 1000).toISOString().slice(0, -4)
    }
    const rest = ms - second * 1000
    return `${this.#prefix}${rest < 10 ? '00' : rest < 100 ? '0' : ''}${rest}Z`
  }
}
