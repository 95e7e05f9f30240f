/** Keys in words, for people who look at a damaged store. */
import { chunkKeyCount, isWellFormed, keyId, keySeq, nameEnd, sessionKind, table } from './keys.ts'

const printable = (bytes: Buffer): string => JSON.stringify(bytes.toString('utf8')).slice(1, -1)

const kinds: Record<number, string> = {
  [sessionKind.record]: 'the record',
  [sessionKind.subscription]: 'a subscription',
  [sessionKind.inbound]: 'a received Packet Identifier',
}

/** What the record with this key is, e.g. "12 messages of lane 7 from 1,024 on". */
export function describeKey(key: Buffer): string {
  const name = (): string => printable(key.subarray(1))
  switch (isWellFormed(key) ? key[0] : -1) {
    case table.internal:
      return `the store's own "${name()}"`
    case table.meta:
      return `the fact "${name()}"`
    case table.lane:
      return `the record of lane "${name()}"`
    case table.chunk:
      return `${chunkKeyCount(key)} messages of lane number ${keyId(key)}, from number ${keySeq(key)} on`
    case table.settled:
      return `what is settled in lane number ${keyId(key)}, from number ${keySeq(key)} on`
    case table.mark:
      return `a mark in lane number ${keyId(key)}, at number ${keySeq(key)}`
    case table.segment:
      return `messages that several lanes share, segment ${keyId(key)}`
    case table.refs:
      return `the count of segment ${keyId(key)}`
    case table.session: {
      const end = nameEnd(key, 1)
      return `${kinds[key[end + 1] ?? -1] ?? 'a part'} of session "${printable(key.subarray(1, end))}"`
    }
    case table.retained:
      return `the retained message of "${name()}"`
    case table.will:
      return `the will of "${name()}"`
    case table.doomed:
      return `the removal of lane number ${keyId(key)}`
  }
  return `a record of no known kind, key ${key.toString('hex').slice(0, 80)}`
}
