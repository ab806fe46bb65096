import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CommandQueue, type Ring } from '@streamspace/commands';
import {
  connectDatabase,
  connectForMigration,
  migrateToLatest,
  queryRows,
} from '@streamspace/database';
import {
  apiReplica,
  createAdminToken,
  freePort,
  nodeProgram,
  startPostgres,
  startRedis,
  type ApiReplica,
  type PostgresServer,
} from '@streamspace/local-stack';
import { Redis } from 'ioredis';
import type { Knex } from 'knex';

const PREFIX = 'bench';
const AGENT_HOST = fileURLToPath(new URL('agent-host-main.js', import.meta.url));

export interface Execution {
  /** Milliseconds since 1970, with fractions. */
  readonly at: number;
  readonly agentId: string;
  readonly number: number;
}

export interface BenchSystem extends AsyncDisposable {
  readonly db: Knex;
  readonly postgres: PostgresServer;
  readonly replicas: readonly ApiReplica[];
  readonly agentIds: readonly string[];
  readonly adminToken: string;
  /** Enqueues without HTTP, as a replica would that holds no agent. */
  readonly queue: CommandQueue;
  /** What the agents have carried out since it was last forgotten; each agent's in its order. */
  readExecutions(): readonly Execution[];
  forgetExecutions(): void;
}

type Defer = (end: () => unknown) => void;

/** PostgreSQL with fsync on, Redis, replica processes, and one process that is all agents; on this machine. */
export async function startBenchSystem(size: {
  readonly replicas: number;
  readonly agents: number;
}): Promise<BenchSystem> {
  const ends: (() => unknown)[] = [];
  const end = async (): Promise<void> => {
    for (const step of ends.splice(0).toReversed()) await step();
  };
  try {
    const parts = await assemble(size, (step) => ends.push(step));
    return { ...parts, [Symbol.asyncDispose]: end };
  } catch (error) {
    await end();
    throw error;
  }
}

async function assemble(
  { replicas, agents }: { readonly replicas: number; readonly agents: number },
  defer: Defer,
): Promise<Omit<BenchSystem, typeof Symbol.asyncDispose>> {
  const directory = mkdtempSync(join(tmpdir(), 'streamspace-bench-'));
  chmodSync(directory, 0o755);
  defer(() => rmSync(directory, { recursive: true, force: true }));
  const postgres = await startPostgres({
    dataDir: join(directory, 'postgres'),
    settings: { shared_buffers: '512MB', max_wal_size: '4GB', max_connections: '200' },
  });
  defer(() => postgres.stop());
  const redis = await startRedis();
  defer(() => redis.stop());
  const db = await prepareDatabase(postgres.url);
  defer(() => db.destroy());
  const keys = await createAgents(db, agents);

  const adminToken = createAdminToken();
  const started = await startReplicas(
    { count: replicas, directory, adminToken, databaseUrl: postgres.url, redisUrl: redis.url },
    defer,
  );
  const ledger = join(directory, 'ledger');
  writeFileSync(ledger, '');
  await startAgents({ db, directory, ledger, keys, urls: started.map(({ url }) => url) }, defer);
  const rings = new Redis(redis.url);
  defer(() => rings.quit());
  return {
    db,
    postgres,
    replicas: started,
    agentIds: Object.keys(keys),
    adminToken,
    queue: new CommandQueue({
      db,
      doorbell: { ring: (some) => ring(rings, some) },
      events: { publish: () => undefined },
      notices: { cancel: () => undefined },
      maxQueuedPerAgent: 10_000_000,
      expiresInMs: 3_600_000,
    }),
    readExecutions: () => parseLedger(readFileSync(ledger, 'utf8')),
    forgetExecutions: () => writeFileSync(ledger, ''),
  };
}

/** As the hub rings: one message an owner for all agents of one call. */
function ring(redis: Redis, rings: readonly Ring[]): void {
  for (const { agentId, ownerBootId } of rings)
    if (ownerBootId !== null)
      void redis.spublish(
        `${PREFIX}:replica:${ownerBootId}`,
        JSON.stringify({ type: 'ring', agentIds: [agentId] }),
      );
}

async function prepareDatabase(url: string): Promise<Knex> {
  const migrator = connectForMigration({ url, applicationName: 'bench' });
  try {
    await migrateToLatest(migrator);
  } finally {
    await migrator.destroy();
  }
  return connectDatabase({ url, applicationName: 'bench', poolSize: 8 });
}

async function createAgents(db: Knex, count: number): Promise<Readonly<Record<string, string>>> {
  const keys = Object.fromEntries(
    Array.from({ length: count }, (_, index) => [
      `bench-${index}`,
      `ssa_${randomBytes(32).toString('base64url')}`,
    ]),
  );
  const rows = Object.entries(keys);
  await db('agents').insert(rows.map(([agent_id]) => ({ agent_id, platform: 'bench' })));
  await db('agent_queues').insert(rows.map(([agent_id]) => ({ agent_id })));
  await db('agent_keys').insert(
    rows.map(([agent_id, key]) => ({
      agent_id,
      key_id: `key_${randomUUID()}`,
      key_hash: createHash('sha256').update(key).digest('hex'),
    })),
  );
  return keys;
}

async function startReplicas(
  options: {
    readonly count: number;
    readonly directory: string;
    readonly adminToken: string;
    readonly databaseUrl: string;
    readonly redisUrl: string;
  },
  defer: Defer,
): Promise<readonly ApiReplica[]> {
  const { count, directory, ...rest } = options;
  const replicas: ApiReplica[] = [];
  for (let number = 1; number <= count; number += 1)
    replicas.push(
      apiReplica({
        ...rest,
        name: `api-${number}`,
        port: await freePort(),
        redisPrefix: PREFIX,
        env: {
          NODE_ENV: 'production',
          LOG_LEVEL: 'warn',
          DRAIN_DELAY: '0',
          MAX_QUEUED_PER_AGENT: '10000000',
        },
        logFile: join(directory, `api-${number}.log`),
      }),
    );
  for (const replica of replicas) defer(() => replica.process.stop());
  await Promise.all(replicas.map((replica) => replica.process.start()));
  return replicas;
}

async function startAgents(
  options: {
    readonly db: Knex;
    readonly directory: string;
    readonly ledger: string;
    readonly keys: Readonly<Record<string, string>>;
    readonly urls: readonly string[];
  },
  defer: Defer,
): Promise<void> {
  const { db, directory, ledger, keys, urls } = options;
  const count = Object.keys(keys).length;
  const host = nodeProgram({
    name: 'bench-agents',
    entry: AGENT_HOST,
    env: {
      BENCH_URLS: urls.join(','),
      BENCH_AGENTS: JSON.stringify(keys),
      BENCH_DIRECTORY: join(directory, 'agents'),
      BENCH_LEDGER: ledger,
    },
    async isReady() {
      const online = await queryRows(db, `select from agent_states where state = 'online'`);
      return online.length === count;
    },
    readyTimeoutMs: 60_000,
    logFile: join(directory, 'agents.log'),
  });
  defer(() => host.stop());
  await host.start();
}

function parseLedger(text: string): readonly Execution[] {
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => {
      const [at, agentId, number] = line.split(' ');
      return { at: Number(at), agentId: agentId ?? '', number: Number(number) };
    });
}
