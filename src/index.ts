/** SluiceMQ for programs that embed it. */
export { type AedesOptions, Broker } from './aedes/broker.ts'
export type { Client } from './aedes/client.ts'
export type { AedesPacket, PublishRequest } from './aedes/packets.ts'
export type { AedesSubscription } from './aedes/subscriptions.ts'
export type {
  AuthenticatingClient,
  AuthenticationExchange,
  AuthenticationMethod,
  AuthenticationStep,
} from './authenticator.ts'
export { type BuildOptions, type Built, build, type Sluice, type StartDeps, startSluice } from './broker.ts'
export { type ConfigSources, loadConfig } from './config/load.ts'
export { type BridgeRule, type Config, type ConfigInput, defaultConfig, type QueueSettings } from './config/schema.ts'
export { Aedes, createBroker, type EmbedOptions } from './embed.ts'
export { type ErrorCode, type ErrorEntry, type ErrorKind, errorTable, SluiceError } from './errors.ts'
export type { Queues } from './queue/queues.ts'
export type { Store } from './store.ts'
export { type DropCause, type EventListener, type EventMap, type EventName, Events } from './telemetry/events.ts'
