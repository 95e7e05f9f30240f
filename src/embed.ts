/** SluiceMQ inside another program, with the face of Aedes: no listener, no HTTP; the program brings the streams. */
import { type AedesOptions, Broker } from './aedes/broker.ts'
import type { AuthenticationMethod } from './authenticator.ts'
import type { Clock } from './base/clock.ts'
import type { Random } from './base/random.ts'
import type { RuleBook } from './bridge/rule-book.ts'
import { prepare } from './broker.ts'
import { checkTogether } from './config/checks.ts'
import { issueLines } from './config/problems.ts'
import { type Config, type ConfigInput, configSchema } from './config/schema.ts'
import { SluiceError } from './errors.ts'
import type { Queues } from './queue/queues.ts'
import type { Store } from './store.ts'
import { Events } from './telemetry/events.ts'

/** Aedes' options and, beside them, ours. */
export interface EmbedOptions extends AedesOptions {
  /**
   * Settings as in the config file: bridge rules, queues, limits. The store is in memory unless `store` or `dataDir` is
   * named. Without it Aedes' own defaults hold (30 s for CONNECT, 100 topic levels, 1000 unreleased QoS 2 messages).
   */
  readonly config?: ConfigInput
  /** A store of the program's own making, instead of the one the config names. */
  readonly store?: Store
  readonly clock?: Clock
  readonly random?: Random
  /** Whoever passes it hears `internalError` there, and the broker does not emit `error`. */
  readonly events?: Events
  readonly authenticationMethods?: readonly AuthenticationMethod[]
}

/**
 * Aedes, with our connections, sessions and store behind it:
 *
 *     const broker = await Aedes.createBroker({ authenticate, config: { dataDir: './data' } })
 *     net.createServer(broker.handle).listen(1883)
 *
 * Its `error` event tells of faults that one connection or call paid for (a listener that threw, a bug of ours); with no
 * listener they are process warnings. They never end the process.
 */
export class Aedes extends Broker {
  readonly events: Events
  /** Work queues that bridge rules fill. */
  readonly queues: Queues
  /** Bridge rules: apply, delete, list. */
  readonly rules: RuleBook

  /** @throws SluiceError config_invalid */
  constructor(options: EmbedOptions = {}) {
    const { config, store, clock, random, events = new Events(), authenticationMethods, ...given } = options
    const aedes = config === undefined ? withDefaults(given) : given
    const own = { ...(store && { store }), ...(clock && { clock }), ...(random && { random }) }
    const methods = authenticationMethods && { authenticationMethods }
    const prepared = prepare({ ...own, ...methods, config: parse(config ?? {}), events, aedes })
    super(prepared.parts, aedes)
    this.events = events
    this.queues = prepared.queues
    this.rules = prepared.rules
    if (options.events === undefined) events.on('internalError', ({ where, error }) => this.#fault(where, error))
  }

  /** Makes a broker and starts it. */
  static override async createBroker(options: EmbedOptions = {}): Promise<Aedes> {
    const broker = new Aedes(options)
    await broker.listen()
    return broker
  }

  #fault(where: string, error: unknown): void {
    if (this.listenerCount('error') > 0) this.emit('error' as never, error as never)
    else process.emitWarning(`${where}: ${error instanceof Error ? error.stack : String(error)}`, 'SluiceMQ')
  }
}

/** `Aedes.createBroker` */
export const createBroker = (options: EmbedOptions = {}): Promise<Aedes> => Aedes.createBroker(options)

/** What Aedes documents as its defaults, where ours differ. */
function withDefaults(options: AedesOptions): AedesOptions {
  const { connectTimeout = 30_000, maxTopicLevels = 100, maxInflightInbound } = options
  const isCount = Number.isInteger(maxInflightInbound) && maxInflightInbound! >= 0
  return {
    ...options,
    connectTimeout,
    maxTopicLevels,
    maxInflightInbound: isCount ? maxInflightInbound! : 1000,
  }
}

function parse(values: ConfigInput): Config {
  const store = values.store ?? (values.dataDir === undefined ? 'memory' : 'lmdb')
  const parsed = configSchema.safeParse({ ...values, store })
  const where = (): string => ''
  const problems = parsed.success ? checkTogether(parsed.data, where) : issueLines(parsed.error.issues, values, where)
  if (!parsed.success || problems.length > 0) throw new SluiceError('config_invalid', problems.join('\n'))
  return parsed.data
}
