import { systemClock } from '../base/clock.ts'
import { encodePublish, encodeSubscribe, type PublishPacket } from '../wire/client-packets.ts'
import { commandTopic, heartbeatTopic } from '../wire/topic.ts'
import { BrokerError } from './errors.ts'
import type { MqttLink } from './mqtt-link.ts'
import type { WorkerCommand, WorkerFacts } from './source.ts'

/** Packet Identifier of the subscription to the command topic. */
export const HEART_SUBSCRIBE_ID = 2
const ANSWER_MS_MAX = 10_000
const commands: readonly string[] = ['run', 'quiet', 'stop'] satisfies WorkerCommand[]

/** Heartbeats over MQTT: a PUBLISH to `$workers/{id}/heartbeat`, answered on `$workers/{id}/command`. */
export class MqttHeart {
  /** Called when the broker says something without being asked. */
  onTold: ((command: WorkerCommand) => void) | null = null
  #topic = ''
  /** The connection on which the command topic is subscribed to. */
  #link: MqttLink | null = null
  #waiting: ((answer: WorkerCommand | BrokerError) => void) | null = null

  /** Resolves with the answer. */
  async beat(link: MqttLink, id: string, facts: WorkerFacts): Promise<WorkerCommand> {
    if (this.#link !== link) {
      this.#link = link
      this.#topic = commandTopic(id)
      link.write(encodeSubscribe(5, HEART_SUBSCRIBE_ID, [{ topicFilter: this.#topic, qos: 0 }], null))
    }
    const payload = Buffer.from(JSON.stringify(facts))
    const answered = new Promise<WorkerCommand | BrokerError>((resolve) => {
      this.#waiting = resolve
    })
    link.write(encodePublish(5, { topic: heartbeatTopic(id), payload }))
    const cancel = systemClock.after(ANSWER_MS_MAX, () => this.fail(new BrokerError(0, 'unreachable', 'no answer')))
    const answer = await answered
    cancel()
    this.#waiting = null
    if (answer instanceof BrokerError) throw answer
    return answer
  }

  /** True: the message was for the worker itself. */
  takes({ topic, payload }: PublishPacket): boolean {
    if (this.#link === null || topic !== this.#topic) return false
    const command = payload.toString()
    if (!commands.includes(command)) return true
    if (this.#waiting !== null) this.#waiting(command as WorkerCommand)
    else this.onTold?.(command as WorkerCommand)
    return true
  }

  /** The answer will not come on this connection. */
  fail(error: BrokerError): void {
    this.#link = null
    this.#waiting?.(error)
  }
}
