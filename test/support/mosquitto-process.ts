/** Mosquitto from Debian's packages, as a second opinion on the raw client. Loopback, any free port, no files kept. */
import { spawn, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { lastingPort } from './ports.ts'

export const hasMosquitto: boolean = spawnSync('mosquitto', ['-h']).error === undefined

export interface MosquittoProcess {
  mqtt: { host: string; port: number }
  ws: string
  stop(): Promise<void>
}

export async function startMosquitto(): Promise<MosquittoProcess> {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'sluicemq-mosquitto-'))
  const [port, wsPort] = [await lastingPort(), await lastingPort()]
  const listener = (n: number) => `listener ${n} 127.0.0.1\nallow_anonymous true\n`
  fs.writeFileSync(path.join(dir, 'conf'), `${listener(port)}${listener(wsPort)}protocol websockets\n`)
  const child = spawn('mosquitto', ['-v', '-c', path.join(dir, 'conf')], { stdio: ['ignore', 'ignore', 'pipe'] })
  const exited = new Promise<void>((resolve) => child.on('close', () => resolve()))
  await new Promise<void>((resolve, reject) => {
    let text = ''
    child.stderr.setEncoding('utf8').on('data', (more: string) => {
      text += more
      if (/running/.test(text)) resolve()
    })
    void exited.then(() => reject(new Error(`mosquitto ended: ${text}`)))
  })
  return {
    mqtt: { host: '127.0.0.1', port },
    ws: `ws://127.0.0.1:${wsPort}/mqtt`,
    async stop() {
      child.kill()
      await exited
      fs.rmSync(dir, { recursive: true, force: true })
    },
  }
}
