import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Agent, createAgent } from '@streamspace/agent';
import type { Logger } from 'pino';
import { LedgerRuntime } from './ledger-runtime.ts';

export const LEDGER_FILE = 'ledger.jsonl';

export interface LedgerAgentOptions {
  readonly url: string;
  readonly agentId: string;
  readonly key: string;
  readonly dataDir: string;
  readonly platform: string;
  readonly region: string | undefined;
  readonly maxSessions: number;
  readonly startDelayMs: number;
  readonly logger: Logger;
}

/** An agent of the SDK whose runtime is a ledger; not started yet. */
export function createLedgerAgent(options: LedgerAgentOptions): Agent {
  const { url, agentId, key, dataDir, platform, region, logger } = options;
  mkdirSync(dataDir, { recursive: true });
  const runtime = new LedgerRuntime({
    path: join(dataDir, LEDGER_FILE),
    startDelayMs: options.startDelayMs,
    epoch: () => agent.stats.highestEpoch,
  });
  const agent = createAgent({
    url,
    agentId,
    key,
    journalDir: join(dataDir, 'journal'),
    runtime,
    platform,
    capacity: { maxSessions: options.maxSessions },
    version: 'ledger',
    logger,
    onStateChange: (state) => runtime.noteLink(state),
    observer: {
      onWelcome: (epoch) => runtime.noteWelcome(epoch),
      onCommands: (frame) => runtime.noteFrame(frame),
    },
    ...(region === undefined ? {} : { region }),
  });
  return agent;
}
