/** What the aedes package's tests get for `../lib/client.js`. */
const { Client } = await import(new URL('src/aedes/client.js', process.env.SLUICEMQ_DIST).href)

export default Client
