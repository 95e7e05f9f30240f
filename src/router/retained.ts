/**
 * The retained messages in memory, found by Topic Filter through a trie of their topics, so that a subscription looks
 * at the topics it may match and not at all of them.
 */
import { Branch, type Child, eachLiteral, pushChildren, range } from './level-branch.ts'
import { mqttSyntax, restMatches } from './level-syntax.ts'
import { LevelTrie } from './level-trie.ts'
import { seededHash } from './text-hash.ts'

/** Topics hold no wildcards [v5 MQTT-3.3.2-2], so every level is literal. */
const topicSyntax = { ...mqttSyntax, one: -1, some: -1 }

class Kept {
  /** The topic. */
  readonly text: string
  message: Buffer
  constructor(text: string, message: Buffer) {
    this.text = text
    this.message = message
  }
}

export class RetainedIndex {
  readonly #topics = new LevelTrie<Kept>(topicSyntax)
  /** What the broker says about itself, which is not counted. A filter finds it only by its first level. */
  readonly #sys = new LevelTrie<Kept>(topicSyntax)
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
    const kept = trie.find(topic)
    if (trie === this.#topics) this.#bytes += message.length - (kept?.message.length ?? 0)
    if (kept === undefined) trie.insert(new Kept(topic, message))
    else kept.message = message
  }

  get(topic: string): Buffer | undefined {
    return this.#trieOf(topic).find(topic)?.message
  }

  /** False when there was none. */
  delete(topic: string): boolean {
    const trie = this.#trieOf(topic)
    const kept = trie.find(topic)
    if (kept === undefined) return false
    if (trie === this.#topics) this.#bytes -= kept.message.length
    return trie.remove(topic)
  }

  #trieOf(topicOrFilter: string): LevelTrie<Kept> {
    return isSys(topicOrFilter) ? this.#sys : this.#topics
  }

  /**
   * Calls `visit` for every retained message whose topic the filter matches, in no order. Topics that start with `$`
   * are not found by a filter that starts with a wildcard [v5 MQTT-4.7.2-1]. The index must not change meanwhile.
   * Cost: the trie branches whose path matches a prefix of the filter.
   */
  match(topicFilter: string, visit: (topic: string, message: Buffer) => void): void {
    // Branches still to look into, and where in the filter the level starts that chooses among their children.
    const branches: Branch<Kept>[] = [this.#trieOf(topicFilter).root]
    const starts: number[] = [0]
    const step = (child: Child<Kept>, at: number, end: number): void => {
      if (!(child instanceof Branch)) {
        const behind = range(child, at, '/')[2]
        if (restMatches(mqttSyntax, topicFilter, end, child.text, behind)) visit(child.text, child.message)
      } else if (end < topicFilter.length) {
        branches.push(child)
        starts.push(end + 1)
      } else if (child.end !== undefined) {
        visit(child.end.text, child.end.message)
      }
    }
    for (let branch = branches.pop(); branch !== undefined; branch = branches.pop()) {
      const start = starts.pop()!
      const found = topicFilter.indexOf('/', start)
      const end = found === -1 ? topicFilter.length : found
      const level = topicFilter.slice(start, end)
      // Nothing but the root is asked about the first level.
      const hideDollar = start === 0
      if (level === '#' && found === -1) {
        visitAll(branch, hideDollar, visit)
      } else if (level === '+') {
        const { at } = branch
        eachLiteral(branch, (child) => {
          if (!hideDollar || !isDollar(child)) step(child, at, end)
        })
      } else {
        const child = this.#trieOf(topicFilter).literal(
          branch,
          topicFilter,
          start,
          end,
          seededHash(level, 0, level.length),
        )
        if (child !== undefined) step(child, branch.at, end)
      }
    }
  }
}

/** Everything at and below the branch. */
function visitAll(from: Branch<Kept>, hideDollar: boolean, visit: (topic: string, message: Buffer) => void): void {
  const stack: Child<Kept>[] = []
  if (from.end !== undefined) stack.push(from.end)
  eachLiteral(from, (child) => {
    if (!hideDollar || !isDollar(child)) stack.push(child)
  })
  for (let child = stack.pop(); child !== undefined; child = stack.pop()) {
    if (child instanceof Branch) pushChildren(child, stack)
    else visit(child.text, child.message)
  }
}

/** Whether the topics that the child of the root stands for begin with `$`. */
function isDollar(child: Child<Kept>): boolean {
  return (child instanceof Branch ? child.name : child.text).charCodeAt(0) === 0x24
}

/** Topics under `$SYS` are about this process: they are kept in memory only and are no part of any limit. */
export function isSys(topicOrFilter: string): boolean {
  return topicOrFilter.startsWith('$SYS') && (topicOrFilter.length === 4 || topicOrFilter[4] === '/')
}
