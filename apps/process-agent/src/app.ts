import { createAgent, type Agent } from '@streamspace/agent';
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Logger } from 'pino';
import type { Config } from './config.ts';
import { hasCommands } from './machine/has-commands.ts';
import { ProcessRuntime } from './sessions/process-runtime.ts';
import { SessionStore } from './sessions/session-store.ts';

/** What the `desktop` template needs. */
const DESKTOP_COMMANDS = ['Xvnc', 'openbox', 'xterm'];
const READY_WITHIN_MS = 60_000;

export interface ProcessAgentDeps {
  readonly config: Config;
  readonly logger: Logger;
  readonly version: string;
}

/** The agent that runs sessions as processes of the machine it is on. */
export function createProcessAgent({ config, logger, version }: ProcessAgentDeps): Agent {
  const dataDir = resolve(config.dataDir);
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const runtime = new ProcessRuntime({
    store: new SessionStore(join(dataDir, 'sessions'), logger),
    runtimeId: readRuntimeId(join(dataDir, 'runtime-id')),
    host: config.sessionHost,
    path: config.path,
    readyWithinMs: READY_WITHIN_MS,
    logger,
  });
  return createAgent({
    url: config.url,
    agentId: config.agentId,
    key: config.key.reveal(),
    journalDir: join(dataDir, 'journal'),
    runtime,
    platform: 'process',
    ...(config.region !== undefined && { region: config.region }),
    labels: {
      ...(hasCommands(DESKTOP_COMMANDS, config.path) && { desktop: 'true' }),
      ...config.labels,
    },
    capacity: { maxSessions: config.maxSessions },
    version,
    logger,
    onStateChange: (state) => logger.debug({ state }, 'link changed'),
  });
}

/** Made once: it marks the processes of this data directory among all that the machine runs. */
function readRuntimeId(path: string): string {
  const known = existsSync(path) ? readFileSync(path, 'utf8').trim() : '';
  if (known !== '') return known;
  const made = randomUUID();
  writeFileSync(`${path}.tmp`, made, { mode: 0o600 });
  renameSync(`${path}.tmp`, path);
  return made;
}
