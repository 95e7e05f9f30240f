/** The record of a lane: u48 number, u48 the sequence number its next entry gets at least, its name. */
import { readUint48, writeUint48 } from './keys.ts'
import type { EmbeddedLane } from './lane.ts'

const HEADER = 12

export function encodeLane(lane: EmbeddedLane): Buffer {
  const value = Buffer.allocUnsafe(HEADER + Buffer.byteLength(lane.name))
  writeUint48(value, 0, lane.id)
  writeUint48(value, 6, lane.seq)
  value.write(lane.name, HEADER)
  return value
}

/** The lane's number in keys; 0: there is no record, nothing of it was ever written. */
export const laneRecordId = (value: Buffer | undefined): number => (value === undefined ? 0 : readUint48(value, 0))
export const laneRecordSeq = (value: Buffer): number => readUint48(value, 6)
export const laneRecordName = (value: Buffer): string => value.toString('utf8', HEADER)
