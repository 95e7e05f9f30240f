import type { Commits } from '../router/commits.ts'
import type { Lane, Store } from '../store.ts'

const RELEASED = Buffer.from([1])

/**
 * Makes durable that PUBREC came. PUBREL is sent only then: otherwise a crash could send the PUBLISH again after the client
 * has forgotten its identifier, and the client would take it twice [v5 MQTT-4.3.3-5]. The client sends PUBREC once on a
 * connection, so a commit that fails is tried again for as long as the exchange stands.
 * @param stands whether the exchange is still this connection's
 * @param released sends PUBREL
 */
export function releaseDurably(
  context: { readonly store: Store; readonly commits: Commits },
  lane: Lane,
  seq: number,
  stands: () => boolean,
  released: () => void,
): void {
  context.store.mark(lane, seq, RELEASED)
  context.commits.wait({
    committed: () => {
      if (stands()) released()
    },
    notCommitted: () =>
      context.commits.later(() => {
        if (stands()) releaseDurably(context, lane, seq, stands, released)
      }),
  })
}
