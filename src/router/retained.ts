/**
 * The retained messages in memory, found by Topic Filter through a trie of their topics, so that a subscription looks
 * at the topics it may match and not at all of them.
 */
import { mqttSyntax, restMatches } from './level-syntax.ts'
import { type Branch, type Child, Entry, LevelTrie, literalChild, pushChildren } from './level-trie.ts'

/** Topics hold no wildcards [v5 MQTT-3.3.2-2], so every level is literal. */
const topicSyntax = { ...mqttSyntax, one: -1, some: -1 }

export class RetainedIndex {
  readonly #topics = new LevelTrie<Buffer>(topicSyntax)
  /** What the broker says about itself, which is not counted. A filter finds it only by its first level. */
  readonly #sys = new LevelTrie<Buffer>(topicSyntax)
  #bytes = 0

  /** Number of topics with a retained message, those under $SYS not counted. */
  get size(): number {
    return this.#topics.size
  }

  /** Sum of the lengths of the messages counted; topics and bookkeeping come on top. */
  get bytes(): number {
    return this.#bytes
  }

  /** Replaces the message of the topic [v5 MQTT-3.3.1-5]. The buffer is kept, not copied. */
  set(topic: string, message: Buffer): void {
    const trie = this.#trieOf(topic)
    const entry = trie.insert(topic, message)
    if (trie === this.#topics) this.#bytes += message.length - (entry?.value.length ?? 0)
    if (entry !== undefined) entry.value = message
  }

  get(topic: string): Buffer | undefined {
    return this.#trieOf(topic).find(topic)?.value
  }

  /** False when there was none. */
  delete(topic: string): boolean {
    const trie = this.#trieOf(topic)
    const entry = trie.find(topic)
    if (entry === undefined) return false
    if (trie === this.#topics) this.#bytes -= entry.value.length
    return trie.remove(topic)
  }

  #trieOf(topicOrFilter: string): LevelTrie<Buffer> {
    return isSys(topicOrFilter) ? this.#sys : this.#topics
  }

  /**
   * Calls `visit` for every retained message whose topic the filter matches, in no order. Topics that start with `$`
   * are not found by a filter that starts with a wildcard [v5 MQTT-4.7.2-1]. The index must not change meanwhile.
   * Cost: the trie branches whose path matches a prefix of the filter.
   */
  match(topicFilter: string, visit: (topic: string, message: Buffer) => void): void {
    // Branches still to look into, and where in the filter the level starts that chooses among their children.
    const branches: Branch<Buffer>[] = [this.#trieOf(topicFilter).root]
    const starts: number[] = [0]
    const step = (child: Child<Buffer>, levelLength: number, end: number): void => {
      if (child instanceof Entry) {
        const behind = child.from + levelLength
        if (restMatches(mqttSyntax, topicFilter, end, child.text, behind)) visit(child.text, child.value)
      } else if (end < topicFilter.length) {
        branches.push(child)
        starts.push(end + 1)
      } else if (child.end !== undefined) {
        visit(child.end.text, child.end.value)
      }
    }
    for (let branch = branches.pop(); branch !== undefined; branch = branches.pop()) {
      const start = starts.pop()!
      const found = topicFilter.indexOf('/', start)
      const end = found === -1 ? topicFilter.length : found
      const level = topicFilter.slice(start, end)
      const hideDollar = start === 0
      if (level === '#' && found === -1) {
        visitAll(branch, hideDollar, visit)
      } else if (level === '+') {
        if (branch.only !== undefined && !(hideDollar && isDollar(branch.onlyName!))) {
          step(branch.only, branch.onlyName!.length, end)
        }
        if (branch.many === undefined) continue
        for (const [name, child] of branch.many) if (!(hideDollar && isDollar(name))) step(child, name.length, end)
      } else {
        const child = literalChild(branch, level)
        if (child !== undefined) step(child, level.length, end)
      }
    }
  }
}

/** Everything at and below the branch. */
function visitAll(from: Branch<Buffer>, hideDollar: boolean, visit: (topic: string, message: Buffer) => void): void {
  const stack: Child<Buffer>[] = []
  if (from.end !== undefined) stack.push(from.end)
  if (from.only !== undefined && !(hideDollar && isDollar(from.onlyName!))) stack.push(from.only)
  if (from.many !== undefined) {
    for (const [name, child] of from.many) if (!(hideDollar && isDollar(name))) stack.push(child)
  }
  for (let child = stack.pop(); child !== undefined; child = stack.pop()) {
    if (child instanceof Entry) visit(child.text, child.value)
    else pushChildren(child, stack)
  }
}

function isDollar(level: string): boolean {
  return level.charCodeAt(0) === 0x24
}

/** Topics under `$SYS` are about this process: they are kept in memory only and are no part of any limit. */
export function isSys(topicOrFilter: string): boolean {
  return topicOrFilter.startsWith('$SYS') && (topicOrFilter.length === 4 || topicOrFilter[4] === '/')
}
