/**
 * Consumer groups: `<queue>@<group>` is a queue of its own that gets every message its parent gets. Workers of one group
 * share its messages; groups know nothing of each other.
 */
export function groupQueue(queue: string, group: string): string {
  return `${queue}@${group}`
}

/** The queue of which this one is a consumer group; null: it stands for itself. */
export function parentName(name: string, groupsOf: (queue: string) => readonly string[]): string | null {
  const at = name.lastIndexOf('@')
  if (at <= 0) return null
  const parent = name.slice(0, at)
  return groupsOf(parent).includes(name.slice(at + 1)) ? parent : null
}
