/** Work queues with one worker process, beside BullMQ on Redis with `appendfsync always`: both acknowledge what is on disk. */
import { workByBullmq, workByHttp, workByMqtt, workHttpRatio, workMqttRatio, workP50, workP99 } from '../metrics.ts'
import type { Scenario } from '../scenario.ts'

export const work: readonly Scenario[] = [
  {
    name: 'queue-work',
    title: 'add and process with one worker process, durably, 100 bytes; our SDK over HTTP (batches of 100) and MQTT',
    metrics: [workHttpRatio, workMqttRatio, workByHttp, workByMqtt, workByBullmq, workP99, workP50],
    load: {},
    peers: ['sluicemq'],
    program: { file: 'queues/main.js', args: ['3'], figures: lastLine },
  },
]

function lastLine(stdout: string): Readonly<Record<string, number>> {
  return JSON.parse(stdout.trim().split('\n').at(-1)!) as Record<string, number>
}
