import { z } from 'zod';

/** What the environment says to ledger agents, one to a process or many. */
export const ledgerEnvironmentSchema = z.object({
  STREAMSPACE_URL: z.url(),
  AGENT_DATA_DIR: z.string(),
  AGENT_PLATFORM: z.string().default('process'),
  AGENT_REGION: z.string().optional(),
  MAX_SESSIONS: z.coerce.number().int().default(10_000),
  LEDGER_START_DELAY_MS: z.coerce.number().min(0).default(0),
  LOG_LEVEL: z.string().default('info'),
});
