/**
 * Conversations with damaged bytes: whatever a peer sends, the broker closes that connection at worst. It must not die,
 * report a bug of its own, or harm a neighbour.
 */
import { expect, test } from 'vitest'
import { BrokerProcess } from '../support/broker-process.ts'
import { RawClient } from '../support/raw-client.ts'
import {
  encodeRawAck,
  encodeRawConnect,
  encodeRawDisconnect,
  encodeRawPublish,
  encodeRawSubscribe,
  encodeRawUnsubscribe,
  frame,
  pingreq,
  type Qos,
  type Version,
} from '../support/raw-packets.ts'
import { SeededRandom } from '../support/seeded-random.ts'

const properties = {
  connect: { sessionExpiryInterval: 5, receiveMaximum: 10, topicAliasMaximum: 3, userProperty: [['a', 'b']] },
  publish: { messageExpiryInterval: 9, contentType: 'x', topicAlias: 1, correlationData: Buffer.from('c') },
} as const

/** A few packets as a correct client might send them. */
function conversation(random: SeededRandom): Buffer[] {
  const version = random.pick<Version>([3, 4, 5])
  const five = version === 5
  const topic = () => random.pick(['fuzz/a', 'fuzz/b', 'fuzz//', '$SYS/x', 'devices/1/telemetry', 'ä/€/😀'])
  const will = { topic: 'fuzz/will', payload: 'w', qos: random.int(0, 2), retain: random.chance(0.5) }
  const packets = [
    encodeRawConnect({
      version,
      clientId: `fuzz-${random.int(0, 50)}`,
      clean: random.chance(0.7),
      keepAliveSeconds: random.int(0, 5),
      ...(random.chance(0.5) ? { will } : {}),
      ...(random.chance(0.3) ? { userName: 'u', password: 'p' } : {}),
      ...(five ? { properties: { ...properties.connect, userProperty: [['a', 'b']] } } : {}),
    }),
  ]
  const makers: (() => Buffer)[] = [
    () => {
      const qos = random.int(0, 2) as Qos
      const fields = { topic: topic(), payload: 'p'.repeat(random.int(0, 300)), qos, packetId: random.int(1, 9) }
      const extra = five && random.chance(0.5) ? { properties: properties.publish } : {}
      return encodeRawPublish(
        { ...fields, retain: random.chance(0.3), dup: qos > 0 && random.chance(0.3), ...extra },
        version,
      )
    },
    () => {
      const filters = ['fuzz/+', '#', '+/+', '$share/g/fuzz/#', 'fuzz/#', '+']
      const entries = Array.from({ length: random.int(1, 3) }, () => ({
        topicFilter: random.pick(filters),
        options: random.int(0, 2),
      }))
      return encodeRawSubscribe(random.int(1, 9), entries, version)
    },
    () => encodeRawUnsubscribe(random.int(1, 9), ['fuzz/+'], version),
    () => encodeRawAck(random.pick(['puback', 'pubrec', 'pubrel', 'pubcomp']), random.int(1, 9)),
    () => pingreq,
    () => encodeRawDisconnect(version, five ? random.pick([0, 4]) : undefined),
    () => frame(random.int(0, 15), random.int(0, 15), Buffer.from([random.int(0, 255), random.int(0, 255)])),
  ]
  for (let i = random.int(0, 8); i > 0; i--) packets.push(random.pick(makers)())
  return packets
}

/** Flips, cuts, repeats or inserts bytes. */
function damage(bytes: Buffer, random: SeededRandom): Buffer {
  const out = Buffer.from(bytes)
  for (let i = random.int(1, 4); i > 0 && out.length > 0; i--) {
    const at = random.int(0, out.length - 1)
    const kind = random.int(0, 3)
    if (kind === 0) out[at] = random.int(0, 255)
    else if (kind === 1) out[at]! ^= 1 << random.int(0, 7)
    else if (kind === 2) return Buffer.concat([out.subarray(0, at), out.subarray(at + random.int(1, 3))])
    else return Buffer.concat([out.subarray(0, at), Buffer.from([random.int(0, 255)]), out.subarray(at)])
  }
  return out
}

test('damaged conversations end their connection at worst', async () => {
  const seed = Number(process.env.FAULT_SEED ?? Date.now() % 1_000_000_000)
  const random = new SeededRandom(seed)
  const broker = await BrokerProcess.start({ config: { log: { level: 'warn', format: 'json' } }, store: 'memory' })
  const { pid } = broker
  try {
    const neighbour = await RawClient.connected(broker.mqtt, { clientId: 'neighbour' })
    await neighbour.subscribe(['beside', 1])
    const one = async (): Promise<void> => {
      const packets = conversation(random)
      // The CONNECT stays whole in most conversations, so that the damage lies behind it.
      const whole = random.chance(0.7) ? 1 : 0
      const bytes = Buffer.concat([
        ...packets.slice(0, whole),
        damage(Buffer.concat(packets.slice(whole)), random),
        pingreq,
      ])
      const client = await RawClient.open(random.chance(0.8) ? broker.mqtt : broker.ws)
      // The tests' decoder is as strict as it can be with this version unknown; here only the broker is judged.
      client.onPacket = () => true
      client.send(bytes)
      await Promise.race([client.closed, new Promise((resolve) => setTimeout(resolve, random.int(0, 15)))])
      client.reset()
      await client.closed
    }
    const end = performance.now() + 4_000
    let conversations = 0
    while (performance.now() < end) {
      await Promise.all(Array.from({ length: 20 }, () => one().catch(() => {})))
      conversations += 20
      await neighbour.publish({ topic: 'beside', qos: 1 })
      await neighbour.receive()
    }
    const story = `seed ${seed}, ${conversations} conversations; broker log: ${broker.stderr.slice(-3_000)}`
    expect(broker.running && broker.pid === pid, story).toBe(true)
    expect(broker.stderr, story).not.toMatch(/internalError|invariant|unhandled|uncaught/i)
    expect((await fetch(`${broker.http}/health/ready`)).status).toBe(200)
    await neighbour.disconnect()
  } finally {
    await broker.stop()
  }
}, 20_000)
