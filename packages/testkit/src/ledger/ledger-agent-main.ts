import { pino } from 'pino';
import { z } from 'zod';
import { createLedgerAgent } from './ledger-agent.ts';
import { ledgerEnvironmentSchema } from './ledger-environment.ts';

const env = ledgerEnvironmentSchema
  .extend({ AGENT_ID: z.string(), AGENT_KEY: z.string() })
  .parse(process.env);

const agent = createLedgerAgent({
  url: env.STREAMSPACE_URL,
  agentId: env.AGENT_ID,
  key: env.AGENT_KEY,
  dataDir: env.AGENT_DATA_DIR,
  platform: env.AGENT_PLATFORM,
  region: env.AGENT_REGION,
  maxSessions: env.MAX_SESSIONS,
  startDelayMs: env.LEDGER_START_DELAY_MS,
  logger: pino({ level: env.LOG_LEVEL }),
});

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.once(signal, () => {
    void agent.stop().then(() => process.exit(0));
  });
}
await agent.start();
