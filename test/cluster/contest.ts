/**
 * One client id connects to several nodes in the same turn, again and again: exactly one connection survives each time, and the
 * session is as it was. All connections of a device share its memory of QoS 2 exchanges, as those of one device do.
 */
import { BrokerProcess } from '../support/broker-process.ts'
import { RawClient } from '../support/raw-client.ts'
import type { BrokerPacket } from '../support/raw-packets.ts'
import { unownedKeysAtRest } from '../support/redis-keys.ts'
import { RedisProcess } from '../support/redis-process.ts'
import { SeededRandom } from '../support/seeded-random.ts'

export interface ContestOptions {
  seed: number
  nodes: number
  /** Client ids that contend side by side. */
  devices: number
  /** Of each device. */
  rounds: number
  /** Every so many rounds the node that serves one of the devices is killed while they connect; 0: never. */
  killEvery?: number
}

export interface ContestResult {
  contests: number
  /** By node: how often its connection survived. */
  survivors: number[]
  kills: number
  probes: number
  violations: string[]
}

/** How long connections may take to come to one, in ms. */
const SETTLED_MS = 20_000
const SESSION_TAKEN_OVER = 0x8e

/** One connection of a device. */
class Contender {
  readonly client: RawClient
  readonly node: number
  accepted = false
  sessionPresent = false
  /** Reason Code of DISCONNECT, or of a CONNACK that refuses. */
  code: number | null = null

  constructor(client: RawClient, node: number) {
    this.client = client
    this.node = node
  }
}

class Device {
  readonly clientId: string
  readonly topic: string
  /** The connection that survived last. */
  current: Contender | null = null
  publisher: RawClient | null = null
  /** Nothing is answered: what arrives stays in flight. */
  silent = false
  readonly arrived = new Map<string, number>()
  readonly #unreleased = new Set<number>()
  readonly #random: SeededRandom
  readonly #violation: (what: string) => void

  constructor(clientId: string, random: SeededRandom, violation: (what: string) => void) {
    this.clientId = clientId
    this.topic = `probe/${clientId}`
    this.#random = random
    this.#violation = violation
  }

  open(client: RawClient, node: number): Contender {
    const contender = new Contender(client, node)
    client.onPacket = (packet) => this.#take(contender, packet)
    return contender
  }

  #take(from: Contender, packet: BrokerPacket): boolean {
    if (packet.type === 'connack') {
      from.accepted = packet.code === 0
      from.sessionPresent = packet.sessionPresent
      if (packet.code !== 0) from.code = packet.code
    } else if (packet.type === 'disconnect') {
      from.code = packet.code
    } else if (packet.type === 'publish') {
      const text = packet.payload.toString()
      if (packet.qos !== 2) this.#violation(`${text} came with QoS ${packet.qos}`)
      if (!this.#unreleased.has(packet.packetId)) {
        this.#unreleased.add(packet.packetId)
        this.arrived.set(text, (this.arrived.get(text) ?? 0) + 1)
      } else if (!packet.dup) this.#violation(`${text} came again without DUP [v5 MQTT-3.3.1-1]`)
      if (!this.silent) from.client.ack('pubrec', packet.packetId)
    } else if (packet.type === 'pubrel') {
      this.#unreleased.delete(packet.packetId)
      if (!this.silent) from.client.ack('pubcomp', packet.packetId)
    } else return false
    return true
  }

  get half(): number {
    return this.#unreleased.size
  }

  chance(share: number): boolean {
    return this.#random.chance(share)
  }
}

export async function runContest(options: ContestOptions): Promise<ContestResult> {
  const redis = await RedisProcess.start({ appendfsync: 'no' })
  const brokers: BrokerProcess[] = []
  try {
    const config = {
      log: { level: 'warn', format: 'json' },
      redisUrl: redis.url,
      bridge: [],
      nodes: { timeoutMs: 2000, surrenderTimeoutMs: 600 },
    }
    for (let i = 0; i < options.nodes; i++)
      brokers.push(await BrokerProcess.start({ config, store: 'redis', supervised: true }))
    const result = await new Contest(options, brokers).run()
    result.violations.push(...(await unownedKeysAtRest(redis.admin, { queues: [] })))
    return result
  } finally {
    if (process.env['FAULT_LOG']) for (const { stderr } of brokers) console.error(stderr.slice(-30_000))
    await Promise.all(brokers.map((broker) => broker.stop()))
    await redis.stop()
  }
}

class Contest {
  readonly #options: ContestOptions
  readonly #brokers: BrokerProcess[]
  readonly #random: SeededRandom
  readonly #result: ContestResult

  constructor(options: ContestOptions, brokers: BrokerProcess[]) {
    this.#options = options
    this.#brokers = brokers
    this.#random = new SeededRandom(options.seed)
    this.#result = { contests: 0, survivors: brokers.map(() => 0), kills: 0, probes: 0, violations: [] }
  }

  async run(): Promise<ContestResult> {
    const { devices, rounds, killEvery = 0 } = this.#options
    const all = Array.from({ length: devices }, (_, i) => {
      const clientId = `twin-${i}`
      return new Device(clientId, this.#random.fork(clientId), (what) => this.#violation(`${clientId}: ${what}`))
    })
    await Promise.all(all.map((device) => this.#begin(device)))
    if (killEvery === 0) {
      await Promise.all(
        all.map(async (device) => {
          for (let round = 1; round <= rounds; round++) await this.#round(device, round, null)
        }),
      )
    } else {
      // A killed node concerns everybody: the rounds of all devices go side by side.
      for (let round = 1; round <= rounds; round++) {
        const victim = round % killEvery === 0 ? (this.#random.pick(all).current?.node ?? null) : null
        await Promise.all([...all.map((device) => this.#round(device, round, victim)), this.#kill(victim)])
        if (victim !== null) await this.#brokers[victim]!.start()
      }
    }
    await Promise.all(all.map((device) => this.#end(device)))
    return this.#result
  }

  #violation(what: string): void {
    this.#result.violations.push(what)
  }

  async #kill(victim: number | null): Promise<void> {
    if (victim === null) return
    this.#result.kills++
    await sleep(this.#random.int(0, 15))
    await this.#brokers[victim]!.kill('SIGKILL')
  }

  async #connect(device: Device, nodes: readonly number[]): Promise<Contender[]> {
    const contenders = await Promise.all(
      nodes.map(async (node) => device.open(await RawClient.open(this.#brokers[node]!.mqtt), node)),
    )
    for (const { client } of contenders) {
      client.connect(connectAs(device.clientId)).catch(() => {})
    }
    return contenders
  }

  async #begin(device: Device): Promise<void> {
    const [first] = await this.#connect(device, [0])
    await until('a first connection', () => first!.accepted)
    await first!.client.subscribe([device.topic, 2])
    device.current = first!
  }

  async #round(device: Device, round: number, victim: number | null): Promise<void> {
    const name = `${device.clientId} round ${round}`
    const contenders = await this.#connect(
      device,
      this.#brokers.map((_, node) => node),
    ).catch(() => [])
    device.silent = false
    this.#result.contests++
    const mayLive = contenders.filter(({ node }) => node !== victim)
    const open = (): Contender[] => contenders.filter(({ client }) => !client.isClosed)
    const settled = (): boolean => {
      const [one, ...more] = open()
      return one !== undefined && more.length === 0 && one.accepted && one.node !== victim
    }
    const old = device.current
    const inTime = await until(name, () => settled() && (old === null || old.client.isClosed)).then(
      () => true,
      () => false,
    )
    const tale = (): string =>
      contenders
        .map(
          ({ node, accepted, code, client }) => `${node}: ${accepted} ${code} ${client.isClosed ? 'closed' : 'open'}`,
        )
        .join(', ')
    if (!inTime) {
      if (mayLive.length > 0) this.#violation(`${name}: not one connection after ${SETTLED_MS} ms: ${tale()}`)
      for (const { client } of contenders) client.reset()
      device.current = null
      return
    }
    const survivor = open()[0]!
    this.#result.survivors[survivor.node]!++
    for (const contender of contenders) {
      const { accepted, sessionPresent, code, node } = contender
      if (accepted && !sessionPresent) this.#violation(`${name}: no session present on ${node} [v5 MQTT-3.2.2-3]`)
      if (contender === survivor || node === victim || !accepted) continue
      if (code !== SESSION_TAKEN_OVER) this.#violation(`${name}: a loser heard ${code}: ${tale()} [v5 MQTT-3.1.4-3]`)
    }
    device.current = survivor
    await this.#probe(device, survivor, round, victim)
  }

  /** A message before the next contest, and in half of the rounds another that stays in flight over it. */
  async #probe(device: Device, survivor: Contender, round: number, victim: number | null): Promise<void> {
    const publisher = await this.#publisher(device, victim)
    await publisher.publish({ topic: device.topic, payload: `${round}`, qos: 2 })
    this.#result.probes++
    await this.#arrives(device, survivor, `${round}`)
    if (device.chance(0.5)) {
      device.silent = true
      await publisher.publish({ topic: device.topic, payload: `${round} in flight`, qos: 2 })
      this.#result.probes++
      await this.#arrives(device, survivor, `${round} in flight`)
    }
  }

  /** Stays where it is until its node is killed. */
  async #publisher(device: Device, victim: number | null): Promise<RawClient> {
    if (device.publisher !== null && !device.publisher.isClosed && victim === null) return device.publisher
    device.publisher?.reset()
    const alive = this.#brokers.filter((_, node) => node !== victim)
    const target = this.#random.pick(alive).mqtt
    device.publisher = await RawClient.connected(target, { clientId: `p-${device.clientId}`, version: 5 })
    return device.publisher
  }

  async #arrives(device: Device, { node }: Contender, text: string): Promise<void> {
    await until(text, () => device.arrived.has(text)).catch(() =>
      this.#violation(`${device.clientId}: ${text} did not come to the survivor on ${node}`),
    )
  }

  async #end(device: Device): Promise<void> {
    device.silent = false
    device.current?.client.reset()
    const [last] = await this.#connect(device, [0])
    await until('a last connection', () => last!.accepted)
    await until('the last exchanges', () => device.half === 0)
    await last!.client.ping()
    for (const [text, times] of device.arrived)
      if (times !== 1) this.#violation(`${device.clientId}: ${text} came ${times} times`)
    last!.client.reset()
    device.publisher?.reset()
  }
}

function connectAs(clientId: string): Parameters<RawClient['connect']>[0] {
  return { clientId, clean: false, version: 5, properties: { sessionExpiryInterval: 3600 } }
}

async function until(what: string, condition: () => boolean): Promise<void> {
  const deadline = performance.now() + SETTLED_MS
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`not in time: ${what}`)
    await sleep(2)
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
