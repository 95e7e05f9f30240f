/** `sluicemq start`: from settings to a serving broker, until a signal. */
import { type Clock, systemClock } from '../base/clock.ts'
import { type ConfigSources, loadConfig } from '../config/load.ts'
import type { Config } from '../config/schema.ts'
import { errorTable, SluiceError } from '../errors.ts'
import { Events } from '../telemetry/events.ts'
import { createLog, type Log, type Logger, logEvents } from '../telemetry/log.ts'
import { exitCodeOf, exitCodes } from './exit-codes.ts'

interface Address {
  host: string
  port: number
}

/** A broker that serves. */
export interface Running {
  readonly addresses: { readonly mqtt: Address; readonly http: Address; readonly mqtts?: Address }
  /** Resolves when everything is served, or that took too long; absent: it is. */
  readonly ready?: Promise<void>
  /** Reads again what can be read again without a restart. */
  reload?(): void
  /** Takes no new clients, lets what is under way finish, closes the store. */
  stop(): Promise<void>
}

/** Starts a broker; resolves once clients may connect. */
export type StartBroker = (config: Config, deps: { events: Events; logger: Logger }) => Promise<Running>

/** The process around the command. */
export interface ProcessPort {
  readonly env: Readonly<Record<string, string | undefined>>
  out(text: string): void
  err(text: string): void
  /** The first line of stdin; on a terminal the prompt is shown, and what is typed is not. */
  readPassword(prompt: string): Promise<string>
  /** Calls `fn` on SIGTERM and SIGINT; returns a function that stops it. */
  onSignal(fn: (signal: 'SIGTERM' | 'SIGINT') => void): () => void
  /** Calls `fn` on SIGHUP; returns a function that stops it. */
  onReload?(fn: () => void): () => void
  /** Calls `fn` on an exception nobody caught and a rejection nobody handled. */
  onCrash(fn: (error: unknown) => void): () => void
  /** Ends the process now. */
  exit(code: number): void
  readonly clock?: Clock
  /** The log instead of stderr, for tests. */
  readonly createLog?: typeof createLog
}

/** What stopping may take beyond limits.shutdownMs before the process gives up on it, in ms. */
const stopGraceMs = 5000

/**
 * Starts the broker, prints the one `ready` line, and runs until SIGTERM or SIGINT; then drains and resolves with the
 * exit code. A second signal exits at once.
 */
export async function startCommand(sources: ConfigSources, process: ProcessPort, start: StartBroker): Promise<number> {
  let config: Config
  try {
    config = loadConfig({ ...sources, env: process.env })
  } catch (error) {
    process.err(failureText(error, null))
    return exitCodeOf(error)
  }
  const log = (process.createLog ?? createLog)(config.log)
  const events = new Events()
  logEvents(events, log.logger)
  const signals = new Signals(process, log)
  try {
    return await serve(config, events, log, process, signals, start)
  } finally {
    signals.close()
    log.flush()
  }
}

async function serve(
  config: Config,
  events: Events,
  log: Log,
  process: ProcessPort,
  signals: Signals,
  start: StartBroker,
): Promise<number> {
  // Others have taken over what this process served, or was about to serve.
  events.on('nodeFenced', () => {
    log.flush()
    process.exit(exitCodes.temporary.code)
  })
  let running: Running
  try {
    running = await start(config, { events, logger: log.logger })
  } catch (error) {
    log.flush()
    process.err(failureText(error, config))
    return exitCodeOf(error)
  }
  // Nothing can be acknowledged any more: a supervisor's restart opens the store anew.
  events.on('storeBroken', () => {
    log.flush()
    process.exit(exitCodes.store.code)
  })
  // Without files to read again, SIGHUP keeps its meaning: the terminal is gone.
  const offReload = running.addresses.mqtts && process.onReload?.(() => running.reload?.())
  await Promise.race([running.ready, signals.first])
  process.out(`${readyLine(running.addresses)}\n`)
  const next = nextStep(config, running.addresses.http)
  if (next !== null) log.logger.info(next)
  await signals.first
  offReload?.()
  const cancel = (process.clock ?? systemClock).after(config.limits.shutdownMs + stopGraceMs, () => {
    log.logger.fatal(`not stopped ${stopGraceMs} ms after limits.shutdownMs; exiting`)
    log.flush()
    process.exit(exitCodes.internal.code)
  })
  try {
    await running.stop()
    return exitCodes.ok.code
  } catch (error) {
    log.logger.error({ err: error }, 'stopping failed')
    return exitCodeOf(error)
  } finally {
    cancel()
  }
}

/** Waits for the first signal; exits on the second and on a crash. */
class Signals {
  /** Resolves with the first SIGTERM or SIGINT, also one that came while the broker was starting. */
  readonly first: Promise<void>
  readonly #offs: (() => void)[]

  constructor(process: ProcessPort, log: Log) {
    let resolveFirst: () => void = () => {}
    this.first = new Promise((resolve) => {
      resolveFirst = resolve
    })
    let seen = false
    const off = process.onSignal((signal) => {
      if (seen) {
        log.flush()
        process.exit((signal === 'SIGINT' ? exitCodes.interrupted : exitCodes.terminated).code)
        return
      }
      seen = true
      log.logger.info(`${signal}: draining; once more to exit at once`)
      resolveFirst()
    })
    const offCrash = process.onCrash((error) => {
      log.logger.fatal({ err: error }, 'an error nobody handled; exiting')
      log.flush()
      process.exit(exitCodes.internal.code)
    })
    this.#offs = [off, offCrash]
  }

  close(): void {
    for (const off of this.#offs) off()
  }
}

/** `ready mqtt=… ws=… http=…`, and `mqtts=…` where TLS is configured: what scripts wait for on stdout. */
export function readyLine({ mqtt, http, mqtts }: Running['addresses']): string {
  const line = `ready mqtt=mqtt://${authority(mqtt)} ws=ws://${authority(http)}/mqtt http=http://${authority(http)}`
  return mqtts === undefined ? line : `${line} mqtts=mqtts://${authority(mqtts)}`
}

function authority({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

/** What a newcomer can do now, for the first rule whose topics are easily written down. */
function nextStep({ bridge }: Config, http: Address): string | null {
  // The first that keeps whatever is published.
  const rule = bridge.find(
    (one) => /^[^#$]+$/.test(one.topicFilter) && one.when === undefined && one.schema === undefined,
  )
  if (rule === undefined) return null
  const topic = rule.topicFilter.replace(/\+|\{[^}]*\}/g, '1')
  const url = `http://${authority(http)}/api/v1/queues/${encodeURIComponent(rule.queue)}/pull`
  return `publish to ${topic} with any MQTT client, then take the message with: curl -X POST ${url}`
}

function settingOf(port: number, config: Config): string {
  if (port === config.mqttPort) return '--mqtt-port'
  return port === config.tls?.port ? 'the setting tls.port' : '--http-port'
}

/** Why the broker does not start, and what to do about it. */
function failureText(error: unknown, config: Config | null): string {
  if (!(error instanceof SluiceError)) {
    return `sluicemq: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`
  }
  const port = error.code === 'address_in_use' ? (error.cause as { port?: number } | undefined)?.port : undefined
  const flag = port === undefined || config === null ? null : settingOf(port, config)
  const action =
    flag === null ? errorTable[error.code].action : `Stop that process or choose another port with ${flag}.`
  return `sluicemq: ${error.message.replaceAll('\n', '\nsluicemq: ')}\n${action}\n`
}
