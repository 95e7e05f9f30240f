/**
 * Program: answers CONNECT and SUBSCRIBE, then copies everything from `bench-p-<n>` to `bench-s-<n>` without looking
 * at it. Prints `ready PORT`.
 */
import net, { type AddressInfo } from 'node:net'

const subscribers = new Map<string, net.Socket>()

function serve(socket: net.Socket): void {
  let target: net.Socket | undefined
  socket.on('error', () => socket.destroy())
  socket.once('data', (connect) => {
    const name = connect.toString('latin1').match(/bench-([ps])-(\d+)/)
    socket.write(Buffer.from([0x20, 2, 0, 0]))
    if (name?.[1] === 'p') {
      target = subscribers.get(name[2]!)
      socket.on('data', (bytes) => {
        if (target === undefined || target.write(bytes)) return
        socket.pause()
        target.once('drain', () => socket.resume())
      })
    } else if (name) {
      subscribers.set(name[2]!, socket)
      // SUBACK for packet identifier 1, QoS 0: what the load generator's subscribers send.
      socket.once('data', () => socket.write(Buffer.from([0x90, 3, 0, 1, 0])))
    }
  })
}

const server = net.createServer({ noDelay: true }, serve)
server.listen(0, '127.0.0.1', () => process.stdout.write(`ready ${(server.address() as AddressInfo).port}\n`))
process.on('SIGTERM', () => process.exit(0))
