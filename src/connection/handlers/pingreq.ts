import { checkEmptyBody, encodePingresp, PacketType } from '../../wire/control.ts'
import type { Connection } from '../connection.ts'

/** PINGREQ ([v5 MQTT-3.12.4-1] [v3 MQTT-3.12.4-1]). */
export function handlePingreq(c: Connection, start: number, end: number): void {
  checkEmptyBody(PacketType.PINGREQ, start, end)
  c.out.write(encodePingresp())
  c.core.hooks.pinged(c)
}
