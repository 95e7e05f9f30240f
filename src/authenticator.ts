/**
 * PORT: enhanced authentication ([v5 4.12]). A method is known by its name (SCRAM-SHA-256, a Kerberos ticket, a
 * challenge to a secure element …) and answers what the client says, one message at a time, until it knows who the
 * client is.
 *
 *     CONNECT (method, data) ─▶ start, step(data) ─▶ continue ─▶ AUTH 0x18 (data)
 *             AUTH 0x18 (data) ─▶ step(data)      ─▶ success  ─▶ CONNACK (data), or AUTH 0x00 when it re-authenticates
 *                                                 ─▶ refused  ─▶ 0x87 "Not authorized", and the connection ends
 *
 * The broker bounds an exchange in time (`limits.connectTimeoutMs`) and never asks a method for two steps at once.
 */
import type { Peer } from './transport.ts'

export interface AuthenticationMethod {
  /** The Authentication Method that clients name in CONNECT, compared byte by byte. */
  readonly name: string
  /** Begins an exchange, for a CONNECT or for a re-authentication. What it throws refuses the client. */
  start(client: AuthenticatingClient): AuthenticationExchange
}

/** What is known about a client before it is authenticated: all of it, but the address, is only claimed. */
export interface AuthenticatingClient {
  /** Empty when the client wants one from the broker. */
  readonly clientId: string
  /** User Name of the CONNECT; of a re-authentication, the user that was authenticated. */
  readonly userName: string | undefined
  /** Password of the CONNECT; some methods give it a meaning ([v5 3.1.3.6]). */
  readonly password: Buffer | undefined
  readonly protocol: Peer['protocol']
  readonly address: string
}

export interface AuthenticationExchange {
  /**
   * Takes the Authentication Data of CONNECT or AUTH, null where there was none. May answer later; an error it throws or
   * rejects with means no: a `SluiceError` decides by its code what the client hears, anything else is our bug (0x80).
   */
  step(data: Buffer | null): AuthenticationStep | Promise<AuthenticationStep>
}

export type AuthenticationStep =
  /** The client is asked for more. */
  | { readonly kind: 'continue'; readonly data: Buffer | null }
  /** The client is `userName`. `data` goes out with the success, e.g. the proof that the server is the right one. */
  | { readonly kind: 'success'; readonly userName: string; readonly data: Buffer | null }
  /** `reason` is for our log; the client hears only that it is not authorized. */
  | { readonly kind: 'refused'; readonly reason: string }
