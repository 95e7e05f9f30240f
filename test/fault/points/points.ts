/**
 * Crash points: one script with everything a broker does, and a broker that dies at every step of it. A step is a commit
 * (before it reaches the disk, and after, before anybody hears of it; with what was written to the network lost or not) or a
 * turn of the event loop: between a packet and its commit, between a commit and its acknowledgement, between the
 * acknowledgement and the client.
 */

import type { Version } from '../../support/raw-packets.ts'
import { SeededRandom } from '../../support/seeded-random.ts'
import type { Actor } from '../sim/scene.ts'
import { WalkCast } from '../walk/ops.ts'

export interface Point {
  readonly kind: 'before commit' | 'after commit' | 'turn'
  /** 1: the first. */
  readonly n: number
  /** What the broker had written reaches its clients. */
  readonly writesSurvive: boolean
}

export interface PointsResult {
  readonly runs: number
  /** Commits and turns of the script. */
  readonly commits: number
  readonly turns: number
  readonly violations: string[]
}

export interface PointsOptions {
  readonly versions?: readonly Version[]
  /** Every how many turns. */
  readonly turnStep?: number
  readonly violationsMax?: number
}

const NEVER: Point = { kind: 'turn', n: Number.POSITIVE_INFINITY, writesSurvive: true }

export async function crashPoints(options: PointsOptions = {}): Promise<PointsResult> {
  const { versions = [4, 5], turnStep = 5, violationsMax = 5 } = options
  const violations: string[] = []
  let runs = 0
  let commits = 0
  let turns = 0
  for (const version of versions) {
    const whole = await play(version, NEVER)
    commits = whole.commits
    turns = whole.turns
    const points: Point[] = []
    for (const writesSurvive of [true, false]) {
      for (const kind of ['before commit', 'after commit'] as const)
        for (let n = 1; n <= commits; n++) points.push({ kind, n, writesSurvive })
      for (let n = 1; n <= turns; n += turnStep) points.push({ kind: 'turn', n, writesSurvive })
    }
    for (const point of [NEVER, ...points]) {
      const { found } = point === NEVER ? whole : await play(version, point)
      runs++
      const how = `MQTT ${version}, crash: ${point.kind} ${point.n}, written bytes ${point.writesSurvive ? 'arrive' : 'are lost'}`
      for (const violation of found) violations.push(`${how}\n${violation}`)
      if (violations.length >= violationsMax) return { runs, commits, turns, violations }
    }
  }
  return { runs, commits, turns, violations }
}

type Step = (play: Script) => Promise<void> | void

/** The script with one crash in it. */
async function play(version: Version, point: Point): Promise<{ found: string[]; commits: number; turns: number }> {
  let commits = 0
  let turns = 0
  let armed = false
  const cast = new WalkCast(
    {
      seed: 1,
      random: new SeededRandom(1),
      rules: {
        fate: () => {
          if (!armed || ++commits !== point.n) return 'pass'
          if (point.kind === 'before commit') return 'crash before'
          return point.kind === 'after commit' ? 'crash after' : 'pass'
        },
      },
    },
    version,
  )
  const { scene } = cast
  const { world, trace } = scene
  world.writesSurvive = () => point.writesSurvive
  world.onTurn = () => {
    if (armed && ++turns === point.n && point.kind === 'turn') world.crash()
  }
  try {
    await cast.begin()
    const script = new Script(cast)
    armed = true
    for (const [i, step] of steps.entries()) {
      trace.note(`step ${i + 1}`)
      await step(script)
      await world.settle()
      if (!world.running) await script.recover()
    }
    armed = false
    world.onTurn = null
    await scene.finish(cast.watcher.client)
  } catch (error) {
    trace.violation(`the run broke: ${(error as Error).stack}`)
  }
  return { found: scene.violations(), commits, turns }
}

class Script {
  readonly cast: WalkCast
  /** Those who want to be connected. */
  readonly present: Set<Actor>

  constructor(cast: WalkCast) {
    this.cast = cast
    this.present = new Set(cast.scene.actors.filter(({ client }) => client.state === 'online'))
  }

  connect(actor: Actor): void {
    this.present.add(actor)
    this.cast.scene.connect(actor)
  }

  leave(actor: Actor): void {
    this.present.delete(actor)
    if (actor.client.state === 'online') this.cast.scene.disconnect(actor.client)
    else actor.client.reset()
  }

  subscribe({ client }: Actor, topicFilter: string, qos: 0 | 1 | 2): void {
    if (client.state === 'online') this.cast.scene.subscribe(client, [topicFilter], qos)
  }

  async recover(): Promise<void> {
    const { scene } = this.cast
    await scene.restart()
    for (const actor of this.present) if (actor.client.state === 'offline') scene.connect(actor)
    await scene.world.settle()
  }
}

const publishAll =
  (...messages: [topic: string, qos: 0 | 1 | 2, retain?: boolean, clears?: boolean][]): Step =>
  ({ cast }) => {
    for (const [topic, qos, retain, clears] of messages) cast.publish(topic, qos, retain, clears)
  }

const steps: readonly Step[] = [
  (s) => s.connect(s.cast.late),
  (s) => s.subscribe(s.cast.late, 't/p', 2),
  (s) => s.subscribe(s.cast.late, 'r/#', 1),
  publishAll(['t/p', 1], ['t/p', 2], ['r/p', 2, true]),
  ({ cast }) => {
    cast.sub.client.holdsAcks = true
  },
  publishAll(['t/p', 2], ['t/p', 1], ['t/p', 2]),
  ({ cast }) => {
    cast.sub.client.holdsAcks = false
    cast.sub.client.acknowledge()
  },
  publishAll(['g/p', 2], ['g/p', 1], ['g/p', 2]),
  publishAll(['q/p', 1], ['q/p', 2], ['q/p', 1], ['q/p', 2], ['q/p', 2]),
  ({ cast }) => cast.scene.worker.pull(4, 2000, 0),
  ({ cast }) => cast.scene.worker.tell('ack', 1),
  ({ cast }) => cast.scene.worker.tell('nack', 1),
  ({ cast }) => cast.scene.worker.tell('extend', 1),
  ({ cast }) => cast.scene.worker.tell('reject', 1),
  ({ cast }) => cast.scene.world.pass(100),
  ({ cast }) => cast.scene.deadWorker.pull(2, 1000, 0),
  ({ cast }) => cast.scene.deadWorker.ackAll(),
  ({ cast: { scene, sub } }) => {
    if (sub.client.state === 'online') scene.unsubscribe(sub.client, 't/p')
  },
  (s) => s.subscribe(s.cast.sub, 't/p', 1),
  (s) => s.leave(s.cast.late),
  publishAll(['t/p', 2], ['t/p', 1], ['r/p', 2, true, true]),
  (s) => s.connect(s.cast.late),
  ({ cast }) => cast.late.client.reset(),
  ({ cast }) => cast.scene.world.pass(60),
  (s) => s.connect(s.cast.brief),
  ({ cast }) => cast.brief.client.reset(),
  ({ cast }) => cast.scene.world.pass(2500, 100),
  ({ cast }) => cast.scene.worker.pull(2, 150, 0),
  ({ cast }) => cast.scene.world.pass(300, 50),
  publishAll(['t/p', 2], ['q/p', 2], ['r/p', 2, true]),
  async ({ cast: { scene } }) => {
    if (!scene.world.running) return
    scene.trace.note('the broker stops in good order')
    await scene.world.stop()
  },
]
