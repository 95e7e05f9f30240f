/** A broker in processes of its own that can be killed, made of as many nodes as `TEST_NODES` says. */
import { type BrokerAddresses, BrokerProcess } from '../../scripts/broker-process.ts'
import { lastingPort } from './ports.ts'
import { type Listening, nodesOfTests, spread } from './spread.ts'
import { freeDatabase } from './two-nodes.ts'

export class BrokerProcesses {
  readonly #nodes: BrokerProcess[]
  #mqtt: Listening | null = null

  private constructor(nodes: BrokerProcess[]) {
    this.#nodes = nodes
  }

  /** @param dataDir of several nodes each has one of its own, beside it */
  static async make(mainFile: string, dataDir: string): Promise<BrokerProcesses> {
    const ports = async (): Promise<string[]> => {
      return ['--mqtt-port', String(await lastingPort()), '--http-port', String(await lastingPort())]
    }
    if (nodesOfTests === 1)
      return new BrokerProcesses([new BrokerProcess(mainFile, ['--data-dir', dataDir, ...(await ports())])])
    const { url, database } = await freeDatabase()
    const shared = ['--store', 'redis', '--redis-url', `${url}/${database}`]
    const nodes: BrokerProcess[] = []
    for (let i = 0; i < nodesOfTests; i++)
      nodes.push(new BrokerProcess(mainFile, ['--data-dir', `${dataDir}-${i}`, ...shared, ...(await ports())]))
    return new BrokerProcesses(nodes)
  }

  /** Of several nodes: each connection goes to the next of them, and HTTP to the last. */
  get addresses(): BrokerAddresses {
    const last = this.#nodes.at(-1)!.addresses
    if (this.#mqtt === null) return last
    const { host, port } = this.#mqtt.address
    return { ...last, mqtt: `mqtt://${host}:${port}` }
  }

  async start(): Promise<void> {
    await Promise.all(this.#nodes.map((node) => node.start()))
    if (this.#nodes.length === 1 || this.#mqtt !== null) return
    const addresses = this.#nodes.map(({ addresses: { mqtt } }) => new URL(mqtt))
    this.#mqtt = await spread(addresses.map(({ hostname, port }) => ({ host: hostname, port: Number(port) })))
  }

  /** Ends all at once, as a power cut would. */
  async kill(): Promise<void> {
    await Promise.all(this.#nodes.map((node) => node.kill()))
  }

  async stop(): Promise<void> {
    await this.kill()
    await this.#mqtt?.close()
  }
}
