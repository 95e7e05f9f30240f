/** Program: stock Aedes on a free port of 127.0.0.1. Prints `ready PORT`. */
import http from 'node:http'
import net, { type AddressInfo } from 'node:net'
import { Aedes } from 'aedes'
import { createWebSocketStream, WebSocketServer } from 'ws'

const broker = await Aedes.createBroker()
let server: net.Server
if (process.argv.includes('--websocket')) {
  const web = http.createServer()
  new WebSocketServer({ server: web }).on('connection', (socket, request) => {
    broker.handle(createWebSocketStream(socket), request)
  })
  server = web
} else {
  // Without noDelay a QoS 1 round trip takes 44 ms: comparing with that would be cheap.
  server = net.createServer({ noDelay: true }, (socket) => broker.handle(socket))
}
server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`ready ${(server.address() as AddressInfo).port}\n`)
})
process.on('SIGTERM', () => process.exit(0))
