import type { ConnectPacket, Will } from '../wire/connect.ts'
import type { Properties } from '../wire/properties.ts'
import { protocolNames } from '../wire/versions.ts'

/** CONNECT in the form that Aedes' `preConnect` gets and may change. */
export interface AedesConnectPacket {
  readonly cmd: 'connect'
  readonly protocolId: string
  readonly protocolVersion: number
  clean: boolean
  clientId: string
  keepalive: number
  username?: string | undefined
  password?: Buffer | undefined
  will?: Will | undefined
  properties?: Properties | undefined
  bridgeMode?: boolean
}

export function connectPacketOf(packet: ConnectPacket): AedesConnectPacket {
  const { version, clean, clientId, keepAliveSeconds, userName, password, will, properties, bridge } = packet
  const shown: AedesConnectPacket = {
    cmd: 'connect',
    protocolId: protocolNames[version],
    protocolVersion: version,
    clean,
    clientId,
    keepalive: keepAliveSeconds,
  }
  if (userName !== undefined) shown.username = userName
  if (password !== undefined) shown.password = password
  if (will !== null) shown.will = { ...will }
  if (properties !== null) shown.properties = properties
  if (bridge) shown.bridgeMode = true
  return shown
}

/** Takes over what the hook changed. The protocol's version is what the client speaks and stays. */
export function adoptConnect(packet: ConnectPacket, changed: AedesConnectPacket): void {
  packet.clean = changed.clean
  packet.clientId = changed.clientId
  packet.keepAliveSeconds = changed.keepalive
  packet.will = changed.will ?? null
  packet.properties = packet.version === 5 ? (changed.properties ?? {}) : null
  delete packet.userName
  delete packet.password
  if (changed.username !== undefined) packet.userName = changed.username
  if (changed.password !== undefined) packet.password = Buffer.from(changed.password)
}
