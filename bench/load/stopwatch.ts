/** Monotonic µs since the process started, with fractions. The one clock of the load generator. */
export function microseconds(): number {
  return performance.now() * 1000
}
