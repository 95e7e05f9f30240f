/** Makes what fails smaller (delta debugging): leaves out halves, quarters … as long as it goes on failing. */
export async function shrinkList<T>(
  list: readonly T[],
  fails: (list: readonly T[]) => Promise<boolean>,
): Promise<readonly T[]> {
  let smallest = list
  for (let size = Math.ceil(smallest.length / 2); size >= 1; ) {
    let shrunk = false
    for (let at = 0; at < smallest.length && smallest.length > 1; ) {
      const without = [...smallest.slice(0, at), ...smallest.slice(at + size)]
      if (without.length > 0 && (await fails(without))) {
        smallest = without
        shrunk = true
      } else at += size
    }
    if (size === 1 && !shrunk) break
    size = size === 1 ? 1 : Math.ceil(size / 2)
  }
  return smallest
}

/**
 * Makes the pieces fewer, then each of them shorter, then one of all.
 *
 * @param packets the same bytes cut between packets: what can be left out without moving what follows out of step
 */
export async function shrinkPieces(
  pieces: readonly Buffer[],
  packets: readonly Buffer[],
  fails: (pieces: readonly Buffer[]) => Promise<boolean>,
): Promise<readonly Buffer[]> {
  let smallest = await shrinkList((await fails(packets)) ? packets : pieces, fails)
  for (let i = 0; i < smallest.length; i++) {
    const before = smallest.slice(0, i)
    const after = smallest.slice(i + 1)
    const bytes = await shrinkList([...smallest[i]!], (some) => fails([...before, Buffer.from(some), ...after]))
    smallest = [...before, Buffer.from(bytes), ...after]
  }
  const joined = [Buffer.concat(smallest)]
  return smallest.length > 1 && (await fails(joined)) ? joined : smallest
}
