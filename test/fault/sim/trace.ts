/** What happened in a run, for reading after a failure: only what concerns the failure is shown. */
const KEPT = 20_000

interface Line {
  readonly at: number
  readonly about: readonly string[]
  readonly text: string
}

export class Trace {
  readonly violations: { what: string; about: readonly string[] }[] = []
  readonly #lines: Line[] = []
  /** Counts everything that happens: the order of events in the run. */
  tick = 0

  /** @param about names (client, message, queue entry) by which the line is found again; none: it concerns all */
  note(text: string, ...about: string[]): number {
    const at = ++this.tick
    if (this.#lines.length < KEPT) this.#lines.push({ at, about, text })
    return at
  }

  violation(what: string, ...about: string[]): void {
    this.note(`VIOLATION ${what}`, ...about)
    this.violations.push({ what, about })
  }

  /** The history of one violation: faults of the whole world, and what concerns its names. */
  story(violation: { what: string; about: readonly string[] }, linesMax = 60): string {
    const lines = this.#lines.filter(
      ({ about }) => about.length === 0 || about.some((name) => violation.about.includes(name)),
    )
    const cut = lines.length > linesMax ? [`… ${lines.length - linesMax} lines before`] : []
    return [violation.what, ...cut, ...lines.slice(-linesMax).map(({ at, text }) => `    ${at}: ${text}`)].join('\n')
  }
}
