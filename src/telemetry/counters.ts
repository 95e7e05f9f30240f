import { type DropCounts, noDrops } from './drops.ts'

/** What happens per message, counted in plain numbers; metrics and $SYS sample them. All count from process start. */
export class Counters {
  bytesReceived = 0
  bytesSent = 0
  packetsReceived = 0
  packetsSent = 0
  /** Bytes of PUBLISH packets, with their headers. */
  publishBytesReceived = 0
  publishBytesSent = 0
  /** PUBLISH packets taken from clients, by QoS. */
  published: [number, number, number] = [0, 0, 0]
  /** PUBLISH packets sent to clients, by QoS. */
  delivered: [number, number, number] = [0, 0, 0]
  /** Messages that entered a work queue through a bridge rule. */
  bridged = 0
  /** Messages that were not delivered, by cause. */
  dropped: DropCounts = noDrops()
  connectionsOpened = 0
  connectionsRefused = 0
  /** CONNECT packets, accepted or not. */
  connects = 0
}
