import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createAgent } from '@streamspace/agent';
import { pino } from 'pino';
import { z } from 'zod';
import { LedgerRuntime } from './ledger-runtime.ts';

const env = z
  .object({
    STREAMSPACE_URL: z.url(),
    AGENT_ID: z.string(),
    AGENT_KEY: z.string(),
    AGENT_DATA_DIR: z.string(),
    AGENT_REGION: z.string().optional(),
    MAX_SESSIONS: z.coerce.number().int().default(10_000),
    LEDGER_START_DELAY_MS: z.coerce.number().min(0).default(0),
    LOG_LEVEL: z.string().default('info'),
  })
  .parse(process.env);

mkdirSync(env.AGENT_DATA_DIR, { recursive: true });
const logger = pino({ level: env.LOG_LEVEL });
const runtime = new LedgerRuntime({
  path: join(env.AGENT_DATA_DIR, 'ledger.jsonl'),
  startDelayMs: env.LEDGER_START_DELAY_MS,
  epoch: () => agent.stats.highestEpoch,
});
const agent = createAgent({
  url: env.STREAMSPACE_URL,
  agentId: env.AGENT_ID,
  key: env.AGENT_KEY,
  journalDir: join(env.AGENT_DATA_DIR, 'journal'),
  runtime,
  platform: 'process',
  capacity: { maxSessions: env.MAX_SESSIONS },
  version: 'ledger',
  logger,
  onStateChange: (state) => runtime.noteLink(state),
  ...(env.AGENT_REGION === undefined ? {} : { region: env.AGENT_REGION }),
});

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.once(signal, () => {
    void agent.stop().then(() => process.exit(0));
  });
}
await agent.start();
