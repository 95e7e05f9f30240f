import { QueueApi } from './api.ts'
import { MqttSource } from './mqtt-source.ts'
import type { WorkerOptions } from './options.ts'
import { fetchRequest, nodeRequest } from './request.ts'
import type { WorkSource } from './source.ts'

/**
 * Where the worker takes messages from, by the scheme of its address.
 * @param capacity messages held at most
 */
export function sourceOf<T>(options: WorkerOptions<T>, capacity: number): WorkSource {
  const { url, source, queue, headers = {} } = options
  if (source !== undefined) return source
  if (url === undefined) throw new TypeError('a worker needs a url (or a source)')
  return /^mqtts?:/.test(url)
    ? new MqttSource(url, queue, capacity)
    : new QueueApi(url, queue, headers, options.fetch === undefined ? nodeRequest() : fetchRequest(options.fetch))
}
