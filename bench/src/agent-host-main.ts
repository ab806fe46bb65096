import { appendFileSync } from 'node:fs';
import { createAgent, type Runtime } from '@streamspace/agent';
import { z } from 'zod';

/**
 * A process that is many agents, each with its connection and its journal on disk. Every command that
 * is carried out becomes a line of its own: when, for whom, and the number that the benchmark gave it.
 */
const environment = z
  .object({
    BENCH_URLS: z.string().transform((text) => text.split(',')),
    BENCH_AGENTS: z
      .string()
      .transform((text) => z.record(z.string(), z.string()).parse(JSON.parse(text))),
    BENCH_DIRECTORY: z.string(),
    BENCH_LEDGER: z.string(),
  })
  .parse(process.env);

const none: Runtime = {
  start: () => Promise.reject(new Error('the benchmark starts no sessions')),
  stop: () => Promise.resolve(),
  hibernate: () => Promise.resolve(),
  wake: () => Promise.reject(new Error('the benchmark wakes no sessions')),
  inventory: () => Promise.resolve({ complete: true, sessions: [] }),
};

let lines: string[] = [];
setInterval(() => {
  if (lines.length === 0) return;
  appendFileSync(environment.BENCH_LEDGER, lines.join(''));
  lines = [];
}, 50);

const agents = Object.entries(environment.BENCH_AGENTS).map(([agentId, key], index) =>
  createAgent({
    url: environment.BENCH_URLS[index % environment.BENCH_URLS.length] ?? '',
    agentId,
    key,
    journalDir: `${environment.BENCH_DIRECTORY}/${agentId}`,
    runtime: none,
    actions: {
      ping(payload) {
        const at = performance.timeOrigin + performance.now();
        lines.push(`${at} ${agentId} ${z.number().catch(0).parse(payload['number'])}\n`);
        return {};
      },
    },
  }),
);
await Promise.all(agents.map((agent) => agent.start()));

process.once('SIGTERM', () => {
  void Promise.all(agents.map((agent) => agent.stop())).then(() => process.exit(0));
});
