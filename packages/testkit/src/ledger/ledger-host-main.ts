import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { z } from 'zod';
import { createLedgerAgent } from './ledger-agent.ts';
import { ledgerEnvironmentSchema } from './ledger-environment.ts';

/** Many agents in one process: each has its own connection, journal and ledger, as if it were alone. */
const env = ledgerEnvironmentSchema.extend({ AGENT_KEYS_FILE: z.string() }).parse(process.env);
const keys = z
  .record(z.string(), z.string())
  .parse(JSON.parse(readFileSync(env.AGENT_KEYS_FILE, 'utf8')));
const logger = pino({ level: env.LOG_LEVEL });

const agents = Object.entries(keys).map(([agentId, key]) =>
  createLedgerAgent({
    url: env.STREAMSPACE_URL,
    agentId,
    key,
    dataDir: join(env.AGENT_DATA_DIR, agentId),
    platform: env.AGENT_PLATFORM,
    region: env.AGENT_REGION,
    maxSessions: env.MAX_SESSIONS,
    startDelayMs: env.LEDGER_START_DELAY_MS,
    logger,
  }),
);

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.once(signal, () => {
    void Promise.all(agents.map((agent) => agent.stop())).then(() => process.exit(0));
  });
}
await Promise.all(agents.map((agent) => agent.start()));
