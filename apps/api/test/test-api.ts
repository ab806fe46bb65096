import { randomUUID } from 'node:crypto';
import { createClient, type Client } from '@streamspace/client';
import { queryRows } from '@streamspace/database';
import { createTestDatabase, createTestRedis, type TestDatabase } from '@streamspace/testkit';
import type { Knex } from 'knex';
import { pino } from 'pino';
import type { Role } from '../src/access/principal.ts';
import { TokenStore } from '../src/access/token-store.ts';
import { createApp } from '../src/app.ts';
import { loadConfig } from '../src/config.ts';
import type { ReplicaProcess } from '../src/replica-process.ts';

export const ADMIN_TOKEN = 'test-admin-token-0123456789';

export interface TestReplica extends AsyncDisposable {
  readonly url: string;
  readonly app: ReplicaProcess;
  call(path: string, options?: CallOptions): Promise<Answer>;
}

export interface CallOptions {
  readonly method?: string;
  readonly token?: string | undefined;
  readonly body?: unknown;
  /** Sent as it is, in place of `body`. */
  readonly text?: string | undefined;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  // oxlint-disable-next-line typescript/no-explicit-any -- tests look at whatever came
  readonly body: any;
}

export interface TestApi extends AsyncDisposable {
  readonly database: TestDatabase;
  readonly db: Knex;
  readonly redis: Awaited<ReturnType<typeof createTestRedis>>;
  readonly replicas: readonly TestReplica[];
  /** The first replica. */
  readonly api: TestReplica;
  readonly tokens: Readonly<Record<'admin' | 'operator' | 'alice' | 'bob', string>>;
  client(token?: string): Client;
}

export interface TestApiOptions {
  readonly replicas?: number;
  readonly env?: NodeJS.ProcessEnv;
  /** In place of the run's shared server. */
  readonly redisUrl?: string;
}

/** Replicas in this process, on real stores of their own. */
export async function startTestApi(options: TestApiOptions = {}): Promise<TestApi> {
  const database = await createTestDatabase();
  const redis = await createTestRedis();
  const env = {
    HOST: '127.0.0.1',
    PORT: '0',
    DATABASE_URL: database.url,
    REDIS_URL: options.redisUrl ?? redis.url,
    REDIS_PREFIX: redis.prefix,
    STREAMSPACE_ADMIN_TOKEN: ADMIN_TOKEN,
    DRAIN_DELAY: '0',
    DRAIN_WINDOW: '0',
    DATABASE_POOL_SIZE: '10',
    ...options.env,
  };
  const replicas: TestReplica[] = [];
  for (let i = 1; i <= (options.replicas ?? 1); i += 1)
    replicas.push(await startTestReplica({ ...env, REPLICA_NAME: `api-${i}` }));
  const store = new TokenStore(database.knex);
  const tokens = {
    admin: ADMIN_TOKEN,
    operator: await createToken(store, 'olga', 'operator'),
    alice: await createToken(store, 'alice', 'user'),
    bob: await createToken(store, 'bob', 'user'),
  };
  const [api] = replicas;
  return {
    database,
    db: database.knex,
    redis,
    replicas,
    api: api!,
    tokens,
    client: (token = ADMIN_TOKEN) => createClient({ url: api!.url, token }),
    async [Symbol.asyncDispose]() {
      await Promise.all(replicas.map(({ app }) => app.stop()));
      await database.drop();
      await redis[Symbol.asyncDispose]();
    },
  };
}

export async function startTestReplica(env: NodeJS.ProcessEnv): Promise<TestReplica> {
  const app = createApp({
    config: loadConfig(env),
    logger: pino({ level: process.env['TEST_LOG'] ?? 'silent', name: env['REPLICA_NAME'] ?? '' }),
    version: '0.0.0-test',
  });
  await app.start();
  return toTestReplica(app);
}

export function toTestReplica(app: ReplicaProcess): TestReplica {
  const url = `http://127.0.0.1:${app.port}`;
  return {
    url,
    app,
    call: (path, options) => call(url + path, options),
    [Symbol.asyncDispose]: () => app.stop(),
  };
}

async function call(url: string, options: CallOptions = {}): Promise<Answer> {
  const { method = 'GET', token = ADMIN_TOKEN, body, text, headers } = options;
  const content = text ?? (body === undefined ? undefined : JSON.stringify(body));
  const response = await fetch(url, {
    method,
    redirect: 'manual',
    headers: {
      ...(token !== '' && { authorization: `Bearer ${token}` }),
      ...(content !== undefined && { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(content !== undefined && { body: content }),
  });
  const answer = await response.text();
  return { status: response.status, headers: response.headers, body: parse(answer) };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

export async function createToken(store: TokenStore, user: string, role: Role): Promise<string> {
  const userId = await store.ensureUser(user, role);
  const { token } = await store.create({ userId, role, description: null, expiresInMs: undefined });
  return token;
}

export interface TestAgentOptions {
  readonly agentId?: string;
  readonly state?: 'online' | 'lost' | 'offline';
  readonly platform?: string;
  readonly region?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly maxSessions?: number;
  readonly cpuMillis?: number;
  readonly memoryBytes?: number;
}

/**
 * An agent as selection sees it, without a process: rows that say who owns it. The owner's beat lies
 * in the future, so it stays online for as long as a test takes.
 */
export async function createTestAgent(db: Knex, options: TestAgentOptions = {}): Promise<string> {
  const {
    agentId = `agent-${randomUUID().slice(0, 8)}`,
    state = 'online',
    platform = 'process',
    region = null,
    labels = {},
  } = options;
  await db('agents').insert({
    agent_id: agentId,
    platform,
    region,
    labels: JSON.stringify(labels),
  });
  const ownerBootId = state === 'online' ? await createOwner(db, agentId) : null;
  await db('agent_queues').insert({
    agent_id: agentId,
    owner_boot_id: ownerBootId,
    disconnected_at: state === 'lost' ? db.fn.now() : null,
    max_sessions: options.maxSessions,
    capacity_cpu_millis: options.cpuMillis,
    capacity_memory_bytes: options.memoryBytes,
  });
  return agentId;
}

async function createOwner(db: Knex, agentId: string): Promise<string> {
  const bootId = `boot-of-${agentId}`;
  await queryRows(
    db,
    `insert into replicas (boot_id, name, version, beat_at)
     values (:bootId, 'elsewhere', 'test', now() + interval '1 hour')`,
    { bootId },
  );
  return bootId;
}

/** What an agent's result would do, without an agent. */
export async function finishCommand(
  db: Knex,
  commandId: string,
  outcome: {
    readonly status: string;
    readonly error_code?: string;
    readonly error_message?: string;
  } = { status: 'completed' },
): Promise<void> {
  await queryRows(db, 'select finish_commands(cast(:entries as jsonb), false)', {
    entries: JSON.stringify([{ command_id: commandId, ...outcome }]),
  });
}

/** Looks again every 10 ms until it is so; the last failure is the error. */
export async function eventually<T>(look: () => Promise<T> | T, withinMs = 10_000): Promise<T> {
  const endsAt = performance.now() + withinMs;
  for (;;) {
    try {
      return await look();
    } catch (error) {
      if (performance.now() > endsAt) throw error;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}
