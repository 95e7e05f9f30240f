/**
 * One seed of the simulation: a broker in a bottle, a handful of clients, a worker, a disk that is slow, refuses and is
 * cut off, and a reference model that watches. The same seed is the same run.
 */
import { SeededRandom } from '../../support/seeded-random.ts'
import type { Fate } from '../lab/engine.ts'
import { type Actor, Scene } from './scene.ts'

export interface SimResult {
  readonly seed: number
  readonly violations: string[]
  readonly counts: Record<string, number>
}

export interface SimOptions {
  readonly seed: number
  /** Things that happen in a run. */
  readonly steps?: number
}

export async function simulate({ seed, steps = 160 }: SimOptions): Promise<SimResult> {
  return new Sim(seed, steps).run()
}

/** Sessions that stay subscribed as they are through the whole run. */
const steady = ({ client }: Actor): boolean => /^(watcher|member)/.test(client.options.clientId)

class Sim {
  readonly #seed: number
  readonly #steps: number
  readonly #random: SeededRandom
  readonly #scene: Scene
  /** Per mille of commits. */
  #refuses = 0
  #crashes = 0
  #delays = 0
  #commits = 0

  constructor(seed: number, steps: number) {
    this.#seed = seed
    this.#steps = steps
    const random = new SeededRandom(seed)
    this.#random = random
    const disk = random.fork('disk')
    this.#scene = new Scene({
      seed,
      random,
      rules: {
        fate: () => this.#fate(disk),
        delay: (go) => {
          if (this.#delays === 0 || !disk.chance(this.#delays / 1000)) go()
          else this.#scene.world.time.after(disk.int(1, 40), go)
        },
      },
    })
    const network = random.fork('network')
    this.#scene.world.writesSurvive = () => network.chance(0.5)
    this.#makeActors()
  }

  #makeActors(): void {
    const random = this.#random
    const actor = (clientId: string, topics: Actor['topics'], filters: string[], will: Actor['will'] = null): void => {
      const version = random.pick([3, 4, 4, 5, 5] as const)
      const watches = /^(watcher|member)/.test(clientId)
      const clean = !watches && random.chance(0.25)
      // A publisher whose session ends unseen (CONNACK lost) would send its QoS 2 messages twice: MQTT knows no way out.
      const mayExpire = !watches && topics.length === 0
      const expirySeconds =
        version === 5 ? { expirySeconds: clean ? 0 : random.pick([3600, 3600, mayExpire ? 3 : 3600]) } : {}
      const receiveMaximum = version === 5 && random.chance(0.5) ? { receiveMaximum: random.int(1, 5) } : {}
      this.#scene.actor({ clientId, version, clean, ...expirySeconds, ...receiveMaximum }, { topics, filters, will })
    }
    const topics = (i: number) => [
      { topic: `t/${i}`, retain: false },
      { topic: `r/${i}`, retain: true },
      { topic: `q/${i}`, retain: false },
      { topic: `g/${i}`, retain: false },
    ]
    const will = (i: number) => (random.chance(0.7) ? { topic: `w/${i}`, delaySeconds: random.pick([0, 0, 2]) } : null)
    actor('watcher', [], ['w/#', 't/0'])
    for (const i of [0, 1, 2]) actor(`pub${i}`, topics(i), [`t/${(i + 1) % 3}`], will(i))
    actor('sub0', [], ['t/#', 'r/#'])
    actor('sub1', [], ['t/0', 't/1', 'r/1'])
    for (const i of [0, 1]) actor(`member${i}`, [], ['$share/g/g/#'])
  }

  #fate(random: SeededRandom): Fate {
    this.#commits++
    if (random.int(0, 999) < this.#crashes) {
      const fate = random.pick(['crash before', 'crash after'] as const)
      this.#scene.trace.note(`commit ${this.#commits}: ${fate}`)
      return fate
    }
    if (random.int(0, 999) >= this.#refuses) return 'pass'
    this.#scene.trace.note(`commit ${this.#commits} is refused`)
    return 'refuse'
  }

  async run(): Promise<SimResult> {
    const scene = this.#scene
    try {
      await this.#live()
    } catch (error) {
      scene.trace.violation(`the run broke: ${(error as Error).stack}`)
    }
    const violations = scene.violations()
    return { seed: this.#seed, violations, counts: { ...scene.counts(), commits: this.#commits } }
  }

  async #live(): Promise<void> {
    const scene = this.#scene
    const { world, actors } = scene
    const random = this.#random
    await world.start()
    for (const actor of actors) scene.connect(actor)
    await world.settle()
    for (const actor of actors) if (steady(actor)) scene.subscribe(actor.client, actor.filters, 2)
    await world.settle()
    // What a run is like: some are about the disk, some about crashes, some about neither.
    const crashy = random.chance(0.5) ? random.int(5, 60) : 0
    const refusing = random.chance(0.4) ? random.int(20, 250) : 0
    this.#delays = random.chance(0.5) ? random.int(100, 900) : 0
    scene.refusing(refusing > 0)
    for (let step = 0; step < this.#steps; step++) {
      this.#crashes = crashy
      this.#refuses = refusing
      await this.#step()
      if (!world.running) await this.#restart()
    }
    scene.trace.note('no more faults')
    this.#heal()
    this.#delays = 0
    await scene.finish(actors[0]!.client)
  }

  #heal(): void {
    this.#crashes = 0
    this.#refuses = 0
  }

  async #step(): Promise<void> {
    const random = this.#random
    const { world, actors, worker, deadWorker, trace } = this.#scene
    const actor = random.pick(actors)
    const { client } = actor
    const dice = random.int(0, 99)
    if (dice < 34) this.#publish(random.pick(actors.filter(({ topics }) => topics.length > 0)))
    else if (dice < 44) this.#flap(actor)
    else if (dice < 50) this.#changeSubscriptions(actor)
    else if (dice < 56) {
      client.holdsAcks = !client.holdsAcks
      if (!client.holdsAcks) client.acknowledge()
    } else if (dice < 66) worker.pull(random.int(1, 10), random.int(100, 1000), random.pick([0, 50, 500]))
    else if (dice < 76) worker.work()
    else if (dice < 77) worker.die()
    else if (dice < 79) worker.breakPull()
    else if (dice < 81) {
      deadWorker.pull(5, 1000, 0)
      deadWorker.ackAll()
    } else if (dice < 84 && client.line !== null) client.line.frozen = !client.line.frozen
    else if (dice < 96) await this.#pass(random.pick([1, 5, 25, 25, 100, 400, 1500]))
    else if (dice < 97 && this.#crashes > 0) {
      trace.note('kill -9')
      world.crash()
    } else if (dice < 98 && world.running) await this.#stopInGoodOrder()
    for (let turns = random.int(0, 3); turns > 0; turns--) {
      for (const line of world.lines) {
        if (random.chance(0.8)) line.deliverToBroker()
        if (random.chance(0.8)) line.deliverToClient()
      }
      await world.turn()
    }
  }

  /** Time goes by, and where it is long the event loop turns meanwhile. */
  async #pass(ms: number): Promise<void> {
    const { world } = this.#scene
    world.time.advance(ms)
    for (let turns = ms < 100 ? 0 : 6; turns > 0; turns--) await world.turn()
  }

  async #stopInGoodOrder(): Promise<void> {
    const { world, trace } = this.#scene
    trace.note('the broker stops in good order')
    this.#heal()
    await world.stop()
    trace.note('the broker has stopped')
  }

  async #restart(): Promise<void> {
    this.#scene.world.time.advance(this.#random.pick([10, 300, 1000]))
    await this.#scene.restart((tries) => {
      if (tries > 6) this.#heal()
    })
  }

  #publish({ client, topics }: Actor): void {
    const random = this.#random
    if (client.state !== 'online' || client.inFlight > 30) return
    const { topic, retain } = random.pick(topics)
    // Of one QoS for each topic: between QoS 1 and 2 MQTT promises no order when they are sent again.
    const qos = retain ? (topic.endsWith('1') ? 1 : 2) : random.pick([0, 1, 1, 2, 2] as const)
    for (let count = random.int(1, 3); count > 0; count--)
      this.#scene.publish(client, topic, qos, retain, retain && random.chance(0.15))
  }

  #flap(actor: Actor): void {
    const random = this.#random
    const { client } = actor
    if (client.state === 'offline') return this.#scene.connect(actor)
    // Cut off now, nobody could tell whether the broker read the DISCONNECT.
    if (client.leaving) return
    const choice = random.next()
    if (choice < 0.5) client.reset(random.int(0, 3))
    else if (choice < 0.75 && client.state === 'online') this.#scene.disconnect(client)
    else {
      // The old connection stays for a while: the broker takes the session over.
      const old = client.line
      this.#scene.connect(actor)
      if (random.chance(0.5)) old?.reset(random.int(0, 2))
    }
  }

  #changeSubscriptions(actor: Actor): void {
    const random = this.#random
    const { client, filters, subscribed } = actor
    if (client.state !== 'online' || client.asking || steady(actor)) return
    const filter = random.pick(filters)
    if (subscribed.has(filter) && random.chance(0.5)) {
      subscribed.delete(filter)
      this.#scene.unsubscribe(client, filter)
    } else {
      subscribed.add(filter)
      this.#scene.subscribe(client, [filter], random.pick([0, 1, 2, 2]))
    }
  }
}
