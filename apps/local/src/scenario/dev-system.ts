import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { createClient, type Client } from '@streamspace/client';
import { z } from 'zod';

const devFileSchema = z.object({
  url: z.string(),
  replicas: z.array(z.object({ id: z.string(), url: z.string(), pid: z.number().nullable() })),
  adminToken: z.string(),
  agents: z.array(z.object({ agentId: z.string(), pid: z.number().nullable() })),
});
type DevFile = z.infer<typeof devFileSchema>;

const POLL_MS = 20;

/** The system that `npm start` runs, through the file in which it says what runs where. */
export class DevSystem {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  read(): DevFile {
    let text: string;
    try {
      text = readFileSync(this.#path, 'utf8');
    } catch (cause) {
      throw new Error(`${this.#path} is not there: run npm start in another terminal first`, {
        cause,
      });
    }
    return devFileSchema.parse(JSON.parse(text));
  }

  get agentId(): string {
    const [agent] = this.read().agents;
    if (!agent) throw new Error('the system runs without an agent: start it without --no-agent');
    return agent.agentId;
  }

  client(url: string): Client {
    return createClient({ url, token: this.read().adminToken });
  }

  /** Clients of the replicas that do not hold the agent's connection, and who does. */
  async foreignReplicas(): Promise<{ owner: string; clients: readonly Client[]; names: string[] }> {
    const { replicas, url } = this.read();
    const { replica: owner } = await this.client(url).agents.get(this.agentId);
    if (owner === null) throw new Error(`agent ${this.agentId} is not connected`);
    const foreign = replicas.filter(({ id }) => id !== owner);
    if (foreign.length === 0) throw new Error('the story needs at least two replicas');
    return {
      owner,
      clients: foreign.map((replica) => this.client(replica.url)),
      names: foreign.map(({ id }) => id),
    };
  }

  /** Kills the agent, and again whenever it has been started anew, until the returned function is called. */
  keepAgentDown(): () => void {
    const release = new AbortController();
    const kill = async (): Promise<void> => {
      let killed: number | null = null;
      while (!release.signal.aborted) {
        const pid = this.read().agents[0]?.pid ?? null;
        if (pid !== null && pid !== killed) {
          killProcess(pid);
          killed = pid;
        }
        await delay(POLL_MS);
      }
    };
    void kill();
    return () => release.abort();
  }
}

function killProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It had ended by itself; the file will name its successor.
  }
}
