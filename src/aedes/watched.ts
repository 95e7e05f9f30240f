/**
 * Calls `assigned` after one of these properties is given another value. They stay what they are to whoever reads or
 * assigns them.
 */
export function watchProperties<K extends string>(
  target: { [name in K]: unknown },
  names: readonly K[],
  assigned: () => void,
): void {
  for (const name of names) {
    let value: unknown = target[name]
    Object.defineProperty(target, name, {
      configurable: true,
      enumerable: true,
      get: () => value,
      set: (given: unknown) => {
        value = given
        assigned()
      },
    })
  }
}
