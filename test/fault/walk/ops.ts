/** The operations that the walk makes fail at each of their store calls: what comes before, and the operation itself. */
import type { Version } from '../../support/raw-packets.ts'
import { type Actor, Scene, type SceneOptions } from '../sim/scene.ts'

/** A publisher and its subscribers, all online, their subscriptions durable. */
export class WalkCast {
  readonly scene: Scene
  readonly version: Version
  readonly watcher: Actor
  readonly pub: Actor
  readonly sub: Actor
  /** Not connected yet: a client with a session that lasts. */
  readonly late: Actor
  /** Not connected yet: one whose session ends with its connection. */
  readonly clean: Actor
  /** Not connected yet: its session ends three seconds after its connection (MQTT 5), and its will waits for two. */
  readonly brief: Actor

  constructor(options: SceneOptions, version: Version) {
    const scene = new Scene(options)
    this.scene = scene
    this.version = version
    const expiry = version === 5 ? { expirySeconds: 3600 } : {}
    const lasting = { version, clean: false, ...expiry }
    this.watcher = scene.actor({ ...lasting, clientId: 'watcher' })
    const topics = ['t', 'r', 'q', 'g'].map((kind) => ({ topic: `${kind}/p`, retain: kind === 'r' }))
    this.pub = scene.actor({ ...lasting, clientId: 'pub' }, { topics, will: { topic: 'w/pub', delaySeconds: 0 } })
    this.sub = scene.actor({ ...lasting, clientId: 'sub' })
    for (const clientId of ['member0', 'member1']) scene.actor({ ...lasting, clientId }, { filters: ['$share/g/g/#'] })
    this.late = scene.actor({ ...lasting, clientId: 'late' }, { will: { topic: 'w/late', delaySeconds: 0 } })
    const ending = version === 5 ? { expirySeconds: 0 } : {}
    this.clean = scene.actor({ version, clean: true, ...ending, clientId: 'clean' })
    const soon = version === 5 ? { expirySeconds: 3 } : {}
    this.brief = scene.actor(
      { version, clean: false, ...soon, clientId: 'brief' },
      { will: { topic: 'w/brief', delaySeconds: 2 } },
    )
  }

  async begin(): Promise<void> {
    const { scene, watcher, sub } = this
    await scene.world.start()
    for (const actor of scene.actors) if (![this.late, this.clean, this.brief].includes(actor)) scene.connect(actor)
    await scene.world.settle()
    scene.subscribe(watcher.client, ['w/#'], 2)
    scene.subscribe(sub.client, ['t/p'], 2)
    for (const { client, filters } of scene.actors) if (filters.length > 0) scene.subscribe(client, filters, 2)
    this.publish('r/p', 1, true)
    await scene.world.pass(60)
  }

  publish(topic: string, qos: 0 | 1 | 2, retain = false, clears = false): void {
    if (this.pub.client.state === 'online') this.scene.publish(this.pub.client, topic, qos, retain, clears)
  }

  settle(): Promise<void> {
    return this.scene.world.settle()
  }

  async connected(actor: Actor, ...filters: string[]): Promise<void> {
    this.scene.connect(actor)
    await this.settle()
    if (filters.length > 0) this.scene.subscribe(actor.client, filters, 2)
    await this.scene.world.pass(60)
  }

  async jobs(count: number, leaseMs = 400): Promise<void> {
    for (let i = 0; i < count; i++) this.publish('q/p', i % 2 === 0 ? 1 : 2)
    await this.settle()
    this.scene.worker.pull(count, leaseMs, 0)
    await this.scene.world.pass(60)
  }
}

/**
 * `batch`: the engine refuses a batch. `read`: a read of the engine throws. `call`: a call of the store port throws, or
 * rejects where it gives a promise.
 */
export const kinds = ['batch', 'read', 'call'] as const
export type Kind = (typeof kinds)[number]

export interface Operation {
  readonly name: string
  /** Kinds of faults that are known to harm it, and are not tried. */
  readonly gaps?: readonly Kind[]
  readonly prepare?: (cast: WalkCast) => Promise<void> | void
  readonly act: (cast: WalkCast) => Promise<void> | void
}

const held =
  (qos: 1 | 2) =>
  async (cast: WalkCast): Promise<void> => {
    cast.sub.client.holdsAcks = true
    for (let i = 0; i < 3; i++) cast.publish('t/p', qos)
    await cast.settle()
  }
const letGo: Operation['act'] = ({ sub }) => {
  sub.client.holdsAcks = false
  sub.client.acknowledge()
}
const away = async (cast: WalkCast): Promise<void> => {
  await cast.connected(cast.late, 't/p')
  cast.scene.disconnect(cast.late.client)
  await cast.settle()
  for (const qos of [1, 2] as const) cast.publish('t/p', qos)
  await cast.settle()
}

export const operations: readonly Operation[] = [
  { name: 'CONNECT, clean', act: ({ scene, clean }) => scene.connect(clean) },
  { name: 'CONNECT, a new session that lasts, with a will', act: ({ scene, late }) => scene.connect(late) },
  { name: 'CONNECT, resume with a backlog', prepare: away, act: ({ scene, late }) => scene.connect(late) },
  {
    name: 'CONNECT, clean over a session with a backlog',
    prepare: away,
    act: ({ scene, late }) => {
      late.client.options.clean = true
      scene.connect(late)
    },
  },
  {
    name: 'CONNECT, takeover with a will',
    prepare: (cast) => cast.connected(cast.late, 't/p'),
    act: ({ scene, late }) => scene.connect(late),
  },
  { name: 'SUBSCRIBE, new, with a retained message', act: ({ scene, sub }) => scene.subscribe(sub.client, ['r/#'], 2) },
  { name: 'SUBSCRIBE, another QoS', act: ({ scene, sub }) => scene.subscribe(sub.client, ['t/p'], 1) },
  {
    name: 'SUBSCRIBE, a session that ends with its connection',
    prepare: (cast) => cast.connected(cast.clean),
    act: ({ scene, clean }) => scene.subscribe(clean.client, ['r/#', 't/p'], 2),
  },
  { name: 'UNSUBSCRIBE', act: ({ scene, sub }) => scene.unsubscribe(sub.client, 't/p') },
  { name: 'PUBLISH, QoS 0', act: (cast) => cast.publish('t/p', 0) },
  { name: 'PUBLISH, QoS 0, retained', act: (cast) => cast.publish('r/p', 0, true) },
  { name: 'PUBLISH, QoS 1', act: (cast) => cast.publish('t/p', 1) },
  { name: 'PUBLISH, QoS 1, retained', act: (cast) => cast.publish('r/p', 1, true) },
  { name: 'PUBLISH, QoS 1, clears a retained message', act: (cast) => cast.publish('r/p', 1, true, true) },
  { name: 'PUBLISH and PUBREL, QoS 2', act: (cast) => cast.publish('t/p', 2) },
  { name: 'PUBLISH and PUBREL, QoS 2, retained', act: (cast) => cast.publish('r/p', 2, true) },
  { name: 'PUBLISH, QoS 1, into a queue', act: (cast) => cast.publish('q/p', 1) },
  { name: 'PUBLISH and PUBREL, QoS 2, into a queue', act: (cast) => cast.publish('q/p', 2) },
  { name: 'PUBLISH and PUBREL, QoS 2, to a shared subscription', act: (cast) => cast.publish('g/p', 2) },
  {
    name: 'PUBLISH, a burst of all kinds',
    act: (cast) => {
      for (const qos of [2, 1, 0] as const) for (const topic of ['t/p', 'q/p', 'g/p']) cast.publish(topic, qos)
    },
  },
  { name: 'PUBACK of a subscriber', prepare: held(1), act: letGo },
  { name: 'PUBREC and PUBCOMP of a subscriber', prepare: held(2), act: letGo },
  { name: 'DISCONNECT', act: ({ scene, pub }) => scene.disconnect(pub.client) },
  {
    name: 'DISCONNECT, the session ends',
    prepare: (cast) => cast.connected(cast.clean, 't/p'),
    act: ({ scene, clean }) => scene.disconnect(clean.client),
  },
  { name: 'a connection is lost, with a will', act: ({ pub }) => pub.client.reset() },
  {
    name: 'a will whose delay runs',
    prepare: async (cast) => {
      await cast.connected(cast.brief, 't/p')
      cast.brief.client.reset()
      await cast.scene.world.pass(100)
    },
    act: ({ scene }) => scene.world.pass(2500, 100),
  },
  {
    name: 'a session expires',
    prepare: async (cast) => {
      await cast.connected(cast.brief, 't/p')
      cast.scene.disconnect(cast.brief.client)
      await cast.settle()
      cast.publish('t/p', 1)
      await cast.scene.world.pass(100)
    },
    act: ({ scene }) => scene.world.pass(5000, 250),
  },
  {
    name: 'pull: a lease',
    prepare: async (cast) => {
      for (const qos of [1, 2, 1] as const) cast.publish('q/p', qos)
      await cast.scene.world.pass(60)
    },
    act: ({ scene }) => scene.worker.pull(2, 400, 0),
  },
  { name: 'ack', prepare: (cast) => cast.jobs(3), act: ({ scene }) => scene.worker.tell('ack', 2) },
  { name: 'nack', prepare: (cast) => cast.jobs(3), act: ({ scene }) => scene.worker.tell('nack', 2) },
  { name: 'release', prepare: (cast) => cast.jobs(3), act: ({ scene }) => scene.worker.tell('release', 2) },
  { name: 'extend', prepare: (cast) => cast.jobs(3), act: ({ scene }) => scene.worker.tell('extend', 2) },
  {
    name: 'reject: dead letters',
    prepare: (cast) => cast.jobs(3),
    act: ({ scene }) => {
      scene.worker.tell('reject', 2)
      return scene.world.pass(100)
    },
  },
  { name: 'a lease runs out', prepare: (cast) => cast.jobs(3, 150), act: ({ scene }) => scene.world.pass(500) },
  {
    name: 'pull and ack of a dead letter',
    prepare: async (cast) => {
      await cast.jobs(2)
      cast.scene.worker.tell('reject', 2)
      await cast.scene.world.pass(100)
    },
    act: async ({ scene }) => {
      scene.deadWorker.pull(5, 400, 0)
      await scene.world.settle()
      scene.deadWorker.ackAll()
    },
  },
  {
    name: 'stop in good order, and start',
    prepare: (cast) => cast.jobs(2, 5000),
    act: async ({ scene }) => {
      scene.publish(scene.actors[1]!.client, 't/p', 2)
      await scene.world.stop()
      await scene.restart()
    },
  },
  {
    name: 'start after a crash',
    prepare: (cast) => cast.jobs(2, 5000),
    act: async ({ scene }) => {
      scene.world.crash()
      await scene.restart()
    },
  },
]
