import { readFileSync } from 'node:fs';
import { pino } from 'pino';
import { z } from 'zod';
import { createApp } from './app.ts';
import { loadConfig, type Config } from './config.ts';

let config: Config;
try {
  config = loadConfig(process.env);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
}
const { version } = z
  .object({ version: z.string() })
  .parse(JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')));
const logger = pino({ level: config.logLevel, base: { replica: config.replica.name } });

process.on('unhandledRejection', (err) => {
  logger.fatal({ err }, 'a promise was rejected and nobody looked');
  process.exit(1);
});

const app = createApp({ config, logger, version });

const stop = (signal: NodeJS.Signals): void => {
  logger.info({ signal }, 'asked to stop');
  // Whatever is left then is safe: agents come back elsewhere, and commands are in Postgres.
  setTimeout(() => process.exit(0), config.drain.deadlineMs).unref();
  void app.stop().then(() => process.exit(0));
};
process.on('SIGTERM', stop);
process.on('SIGINT', stop);

try {
  await app.start();
} catch (err) {
  if (!app.isStopping) {
    logger.fatal({ err }, 'starting failed');
    process.exit(1);
  }
}
