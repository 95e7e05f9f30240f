/** The log: one line per thing that happened, on stderr. Payloads and passwords are never written. */
import { type DestinationStream, destination, type Logger, pino, stdTimeFunctions } from 'pino'
import type { Config } from '../config/schema.ts'
import type { EventMap, EventName, Events } from './events.ts'

export type { Logger } from 'pino'

export interface Log {
  readonly logger: Logger
  /** Writes what waits, at once: before the process exits. */
  flush(): void
}

/** Lines that wait for a reader of stderr that has stopped; more are dropped, for a full pipe must not stop the broker. */
const waitingBytesMax = 4 * 1024 * 1024

/** A logger by `config.log`; `to` replaces stderr. */
export function createLog(config: Config['log'], to?: DestinationStream): Log {
  const stderr = to === undefined ? destination({ dest: 2, sync: false, maxLength: waitingBytesMax }) : null
  const out = to ?? (stderr as DestinationStream)
  const pretty = config.format === 'pretty' || (config.format === 'auto' && process.stderr.isTTY === true)
  const options = {
    level: config.level,
    base: null,
    timestamp: stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    redact: {
      paths: ['password', '*.password', 'authorization', '*.authorization', '*.cookie'],
      censor: '(not shown)',
    },
  }
  const logger = pino(options, pretty ? { write: (line: string) => void out.write(prettyLine(line)) } : out)
  return { logger, flush: () => stderr?.flushSync() }
}

/** A JSON line for people: time, level, message, then `key=value`. */
export function prettyLine(line: string): string {
  const { level, time, msg, err, ...rest } = JSON.parse(line) as Record<string, unknown>
  let text = `${String(time).slice(11, 23)} ${String(level).toUpperCase().padEnd(5)} ${msg ?? ''}`
  for (const [key, value] of Object.entries(rest)) {
    // Anything but plain words is quoted, so that a client identifier cannot pretend to be another line.
    const plain = typeof value === 'string' && /^[\w./:$#+@-]+$/.test(value)
    text += ` ${key}=${plain ? value : JSON.stringify(value)}`
  }
  if (typeof err === 'object' && err !== null && 'stack' in err) text += `\n${err.stack}`
  return `${text}\n`
}

type Level = 'debug' | 'info' | 'warn' | 'error'

/** How each event reads in the log. An event that is not here does not compile. */
const sentences: { readonly [K in EventName]: readonly [Level, string] } = {
  started: ['info', 'started'],
  stopping: ['info', 'stopping'],
  // A fleet that comes back after an outage would fill the log, and wait for it: `clientEvents` and metrics tell it too.
  clientConnected: ['debug', 'client connected'],
  clientDisconnected: ['debug', 'client disconnected'],
  certificateLoaded: ['info', 'certificate loaded'],
  certificateRejected: ['error', 'a new certificate is no good; the one in use stays'],
  connectionRefused: ['warn', 'connection refused'],
  sessionTakenOver: ['info', 'session taken over by a new connection'],
  sessionExpired: ['info', 'session expired'],
  clientSubscribed: ['debug', 'client subscribed'],
  clientUnsubscribed: ['debug', 'client unsubscribed'],
  messageDropped: ['warn', 'messages dropped'],
  slowReader: ['warn', 'client does not read'],
  memoryShort: ['warn', 'memory is short (level 0: no longer)'],
  willPublished: ['debug', 'will published'],
  storeCompacted: ['info', 'the file of the store was written anew without its free space'],
  storeRoom: ['warn', 'the room of the store changed'],
  storeDamaged: [
    'error',
    'a record of the store is damaged and left out; stop the broker and run: sluicemq store check --data-dir ...',
  ],
  storeMigrated: ['warn', 'the store was brought to the format of this version; the file as it was is kept'],
  storeBroken: ['error', 'the store cannot go on in this process; exiting so that a restart can mend it'],
  commitFailed: ['error', 'writing to the store failed; publishes are not acknowledged'],
  commitRecovered: ['info', 'writing to the store works again'],
  storeAway: ['error', 'the connection to the store is gone'],
  storeBack: ['info', 'the connection to the store is back'],
  storeRolledBack: ['error', 'the store has forgotten writes that it had confirmed'],
  storeTookBack: ['warn', 'a write that had been refused was found done and was taken back'],
  storeImported: ['info', 'took over the data of another broker'],
  nodeJoined: ['info', 'another node is there'],
  nodeGone: ['warn', 'another node is gone'],
  doorTroubled: ['warn', 'messages cannot be laid out for workers that read Redis'],
  clusterTroubled: ['warn', 'Redis does not answer about the other nodes'],
  clusterRecovered: ['info', 'Redis answers about the other nodes again'],
  nodeFenced: ['error', 'other nodes declared this one dead; exiting so that it starts anew'],
  leaseExpired: ['info', 'leases ran out; the messages will be tried again'],
  deadLettered: ['warn', 'messages used up their attempts and are dead letters now'],
  internalError: ['error', 'internal error'],
}

/** Writes every event to the log; returns a function that stops it. */
export function logEvents(events: Events, logger: Logger): () => void {
  const offs = (Object.keys(sentences) as EventName[]).map((name) => {
    const [level, sentence] = sentences[name]
    return events.on(name, (event) => {
      if (!logger.isLevelEnabled(level)) return
      logger[level]({ event: name, ...fields(event) }, sentence)
    })
  })
  return () => {
    for (const off of offs) off()
  }
}

/** An Error only survives into JSON under the name `err`. Facts that are null or '' say nothing. */
function fields(event: EventMap[EventName]): Record<string, unknown> {
  const result: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(event)) {
    if (value instanceof Error) result['err'] = value
    else if (value !== null && value !== '') result[key] = value
  }
  return result
}
