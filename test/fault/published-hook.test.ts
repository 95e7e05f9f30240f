/** A hook that takes its time, and a commit that fails meanwhile. */
import { expect, test } from 'vitest'
import { SeededRandom } from '../support/seeded-random.ts'
import { WalkCast } from './walk/ops.ts'

test.each([1, 2] as const)(
  'a PUBLISH of QoS %i is not acknowledged when its commit fails while the published hook is still at it',
  async (qos) => {
    let refuse = false
    const rules = { fate: () => (refuse ? 'refuse' : 'pass') as 'refuse' | 'pass' }
    const cast = new WalkCast({ seed: 1, random: new SeededRandom(1), rules }, 5)
    await cast.begin()
    const { scene } = cast
    const { world } = scene
    const { broker } = world.life
    const hook: { done: () => void } = { done: () => {} }
    broker.published = (_packet, _client, done) => {
      hook.done = () => done()
    }
    scene.refusing(true)
    refuse = true
    cast.publish('t/p', qos)
    await world.settle()
    // Somebody else's commit takes the message's writes with it.
    broker.core.commits.schedule()
    await world.settle()
    refuse = false
    await world.settle()
    broker.published = (_packet, _client, done) => done()
    hook.done()
    await world.settle()
    world.crash()
    await scene.finish(cast.watcher.client)
    expect(scene.violations()).toEqual([])
    expect(scene.counts()).toMatchObject({ acknowledged: 1, refused: 1 })
  },
)
