import { setTimeout as delay } from 'node:timers/promises';
import { agentAndKeySchema, agentSchema, type CreateAgent } from '@streamspace/protocol';
import { z } from 'zod';
import { readOptionalFile, writePrivateFile } from './secret-file.ts';

const keptSchema = z.object({
  key: z.string(),
  /** Of the agent: an agent of the same name in another database is another agent. */
  createdAt: z.string(),
});

export interface AgentCredentialsOptions {
  readonly url: string;
  readonly adminToken: string;
  readonly agent: CreateAgent;
  /** Keeps the key for the next start, as the API shows it only once. */
  readonly keyFile?: string;
}

const TRIES = 20;
const RETRY_AFTER_MS = 250;
const REQUEST_TIMEOUT_MS = 15_000;

/** Registers the agent, or finds it, and returns its key; a key that was lost is replaced by a new one. */
export async function ensureAgentKey(options: AgentCredentialsOptions): Promise<string> {
  const { agent, keyFile } = options;
  const path = `/api/v1/agents/${encodeURIComponent(agent.agentId)}`;
  const found = await request(options, { method: 'GET', path });
  if (found.status === 404) {
    const created = await request(options, { method: 'POST', path: '/api/v1/agents', body: agent });
    return keep(keyFile, parseAgentAndKey(created));
  }
  const { createdAt } = agentSchema.parse(expectOk(found));
  const kept = readKept(keyFile);
  if (kept?.createdAt === createdAt) return kept.key;
  const rotated = await request(options, {
    method: 'POST',
    path: `${path}/rotate-key`,
    body: { graceSeconds: 0 },
  });
  const { key } = z.object({ key: z.string() }).parse(expectOk(rotated));
  return keep(keyFile, { key, createdAt });
}

type Kept = z.infer<typeof keptSchema>;

interface Answer {
  readonly status: number;
  readonly body: unknown;
}

async function request(
  { url, adminToken }: AgentCredentialsOptions,
  { method, path, body }: { method: string; path: string; body?: unknown },
): Promise<Answer> {
  for (let attempt = 1; ; attempt++) {
    const response = await fetch(`${url}${path}`, {
      method,
      headers: { authorization: `Bearer ${adminToken}`, 'content-type': 'application/json' },
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const answer: Answer = { status: response.status, body: await response.json() };
    // A replica that has only just become ready may not be known to the load balancer yet.
    if (answer.status !== 503 || attempt === TRIES) return answer;
    await delay(RETRY_AFTER_MS);
  }
}

function expectOk({ status, body }: Answer): unknown {
  if (status >= 200 && status < 300) return body;
  throw new Error(`the API answered ${status}: ${JSON.stringify(body)}`);
}

function parseAgentAndKey(answer: Answer): Kept {
  const { agent, key } = agentAndKeySchema.parse(expectOk(answer));
  if (key === undefined)
    throw new Error(`the API kept the key of agent ${agent.agentId} to itself`);
  return { key, createdAt: agent.createdAt };
}

function readKept(keyFile: string | undefined): Kept | undefined {
  const content = keyFile === undefined ? undefined : readOptionalFile(keyFile);
  if (content === undefined) return undefined;
  try {
    return keptSchema.parse(JSON.parse(content));
  } catch {
    return undefined;
  }
}

function keep(keyFile: string | undefined, kept: Kept): string {
  if (keyFile !== undefined) writePrivateFile(keyFile, `${JSON.stringify(kept)}\n`);
  return kept.key;
}
