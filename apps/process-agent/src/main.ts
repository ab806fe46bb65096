import { pino } from 'pino';
import { createProcessAgent } from './app.ts';
import { loadConfig, type Config } from './config.ts';

const config = readConfig();
const logger = pino({ level: config.logLevel, base: { service: 'process-agent' } });
const agent = createProcessAgent({ config, logger, version: '0.1.0' });

let isStopping = false;
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => {
    if (isStopping) return;
    isStopping = true;
    logger.info({ signal }, 'stopping; sessions go on');
    agent.stop().then(
      () => process.exit(0),
      (err: unknown) => {
        logger.fatal({ err }, 'could not stop in good order');
        process.exit(1);
      },
    );
  });
}

await agent.start().catch((err: unknown) => {
  logger.fatal({ err }, 'could not start');
  process.exit(1);
});

function readConfig(): Config {
  try {
    return loadConfig(process.env);
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    return process.exit(2);
  }
}
