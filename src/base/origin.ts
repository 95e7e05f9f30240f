/**
 * Which web pages may talk to us. Browsers let any page open a WebSocket to any host, and send simple requests to it,
 * so a server that only listens on loopback still has to look at the Origin header (RFC 6454).
 */

/**
 * True for no Origin at all (a program, not a page), a page of the very host it talks to, and the listed origins (`*`:
 * all). `host` is the Host header of the request.
 */
export function originAllowed(
  origin: string | undefined,
  host: string | undefined,
  allowed: readonly string[],
): boolean {
  if (origin === undefined || allowed.includes('*') || allowed.includes(origin)) return true
  return host !== undefined && URL.canParse(origin) && new URL(origin).host === host.toLowerCase()
}
