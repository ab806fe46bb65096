import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { type LocalStack, writePrivateFile } from '@streamspace/local-stack';

/**
 * `.streamspace/dev.json`: what runs where, with its secrets, for scripts on this machine. It is replaced whenever a
 * process was restarted, and gone after a clean end.
 */
export class DevFile {
  readonly #path: string;

  constructor(stateDir: string) {
    this.#path = join(stateDir, 'dev.json');
  }

  write(stack: LocalStack): void {
    const { url, adminToken, databaseUrl, redisUrl, replicas, agent } = stack;
    const content = {
      url,
      replicas: replicas.map(({ name, url: replicaUrl, process: { pid } }) => ({
        id: name,
        url: replicaUrl,
        pid: pid ?? null,
      })),
      adminToken,
      agents: agent
        ? [{ agentId: agent.agentId, key: agent.key, pid: agent.process.pid ?? null }]
        : [],
      databaseUrl,
      redisUrl,
      pid: process.pid,
    };
    writePrivateFile(this.#path, `${JSON.stringify(content, null, 2)}\n`);
  }

  remove(): void {
    rmSync(this.#path, { force: true });
  }
}
