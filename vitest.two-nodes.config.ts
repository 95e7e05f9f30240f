/** The scenarios of one broker, run over two nodes that share a Redis: docs/nodes.md. */
import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    name: 'two nodes',
    include: [
      'test/conformance/{v3,v5,regression}/*.test.ts',
      'test/conformance/sys-topics.test.ts',
      'test/e2e/firmware-sim.test.ts',
      'test/interop/{mosquitto-clients,mqttjs,paho,queue-control,queue-mqtt,raw-client,rules}.test.ts',
      'test/unit/{api,cli-live,clients-routes,limits,session-identity,worker-sources}.test.ts',
    ],
    env: { TEST_NODES: '2' },
    runner: './test/two-nodes/runner.ts',
    globalSetup: ['test/two-nodes/setup.ts'],
    testTimeout: 60_000,
    expect: { poll: { timeout: 10_000 } },
    hookTimeout: 60_000,
    pool: 'forks',
    maxWorkers: 2,
  },
})
