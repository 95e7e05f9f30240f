/** Carries messages between nodes at most once, in order from one node to another: one channel for each node. */
export interface Fabric {
  /** Resolves when messages to this channel are heard. */
  listen(channel: string, heard: (message: FabricMessage) => void): Promise<void>
  /** Calls back when the message is on its way, or with what kept it. */
  send(channel: string, message: FabricMessage, sent: (error: unknown) => void): void
  close(): Promise<void>
}

export type FabricMessage =
  /** Live messages; `at`: bytes of them sent to this node so far. Without any: the question how far it is. */
  | { readonly is: 'messages'; readonly from: string; readonly frames: Buffer; readonly at: number }
  /** This node is done with the live messages up to there. */
  | { readonly is: 'taken'; readonly from: string; readonly at: number }
  | {
      readonly is: 'question'
      readonly from: string
      readonly id: number
      readonly kind: string
      readonly body: unknown
    }
  | { readonly is: 'answer'; readonly from: string; readonly id: number; readonly body: unknown }
  /** `code` is one of our error table where the answering node had one. */
  | { readonly is: 'refusal'; readonly from: string; readonly id: number; readonly code: string; readonly text: string }
  /** Membership changed: look again. */
  | { readonly is: 'news'; readonly from: string }
