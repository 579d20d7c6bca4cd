// Sends each line of standard input through winston-loki: snappy protobuf in batches.
const readline = require('readline')
const winston = require('winston')
const LokiTransport = require('winston-loki')

const loki = new LokiTransport({
  host: process.argv[2],
  labels: { app: 'winston' },
  format: winston.format.printf(info => info.message),
  replaceTimestamp: false,
  onConnectionError: error => { console.error(error); process.exit(1) }
})
const logger = winston.createLogger({ transports: [loki] })
readline.createInterface({ input: process.stdin })
  .on('line', line => logger.info(line))
  .on('close', () => setImmediate(() => loki.flush().then(() => process.exit(0))))
