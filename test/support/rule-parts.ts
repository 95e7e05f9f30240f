import { systemClock } from '../../src/base/clock.ts'
import { systemRandom } from '../../src/base/random.ts'
import type { RuleParts } from '../../src/bridge/rule.ts'

export const systemParts: RuleParts = { clock: systemClock, random: systemRandom }
