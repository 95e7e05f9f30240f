/** Binds a server to an address, with failures that say what to change. */
import type { AddressInfo, Server } from 'node:net'
import { SluiceError } from '../errors.ts'

export interface BindOptions {
  readonly host: string
  readonly port: number
  readonly backlog?: number
}

/** Listens and resolves with the address really bound. Rejects with a `SluiceError`. */
export function bind(server: Server, options: BindOptions): Promise<{ host: string; port: number }> {
  return new Promise((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException): void => reject(bindError(error, options))
    server.once('error', failed)
    server.listen(options, () => {
      server.off('error', failed)
      // A failing accept (EMFILE: out of file descriptors) costs that connection, not the process.
      server.on('error', () => {})
      resolve(boundAddress(server, options.host))
    })
  })
}

/** The address a listening server has; a pipe or closed server has port 0. */
export function boundAddress(server: Server, host: string): { host: string; port: number } {
  const address = server.address() as AddressInfo | string | null
  return address === null || typeof address === 'string'
    ? { host, port: 0 }
    : { host: address.address, port: address.port }
}

/** `address_in_use` for a taken port, `config_invalid` for an address or port this machine will not give us. */
export function bindError(error: NodeJS.ErrnoException, options: BindOptions): SluiceError {
  const where = `port ${options.port} of ${options.host}`
  switch (error.code) {
    case 'EADDRINUSE':
      return new SluiceError('address_in_use', `${where} is in use by another process`, { cause: error })
    case 'EACCES':
      return new SluiceError('config_invalid', `${where} needs privileges this process lacks`, { cause: error })
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return new SluiceError('config_invalid', `host: ${options.host} is no address of this machine`, { cause: error })
    default:
      return new SluiceError('config_invalid', `cannot listen on ${where}: ${error.message}`, { cause: error })
  }
}
