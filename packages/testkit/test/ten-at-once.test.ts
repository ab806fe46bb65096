import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  apiReplica,
  createAdminToken,
  entryPoints,
  freePort,
  runNodeProgram,
} from '@streamspace/local-stack';
import { createTestDatabase, createTestRedis, testProcessRegistry } from '@streamspace/testkit';

const REPLICAS = 6;
const MIGRATORS = 4;

it('ten replicas and migrators started at once on an empty database all come up', async () => {
  await using database = await createTestDatabase({ isEmpty: true });
  await using redis = await createTestRedis();
  const directory = mkdtempSync(join(tmpdir(), 'ten-at-once-'));
  const adminToken = createAdminToken();
  const ports = await Promise.all(Array.from({ length: REPLICAS }, () => freePort()));
  const replicas = ports.map((port, index) =>
    apiReplica({
      name: `api-${index + 1}`,
      port,
      databaseUrl: database.url,
      redisUrl: redis.url,
      redisPrefix: redis.prefix,
      adminToken,
      env: { NODE_ENV: 'test', LOG_LEVEL: 'warn', DRAIN_DELAY: '0', DATABASE_POOL_SIZE: '4' },
      logFile: join(directory, `api-${index + 1}.log`),
      registry: testProcessRegistry(),
    }),
  );
  try {
    await Promise.all([
      ...replicas.map((replica) => replica.process.start()),
      ...Array.from({ length: MIGRATORS }, (_, index) =>
        runNodeProgram({
          entry: entryPoints.migrate,
          env: { DATABASE_URL: database.url },
          logFile: join(directory, `migrate-${index}.log`),
        }),
      ),
    ]);

    const answers = await Promise.all(
      replicas.map(({ url }) =>
        fetch(`${url}/api/v1/templates`, { headers: { authorization: `Bearer ${adminToken}` } }),
      ),
    );
    expect(answers.map(({ status }) => status)).toEqual(Array(REPLICAS).fill(200));
    const applied = await database.knex('knex_migrations').pluck<string[]>('name');
    expect(new Set(applied).size).toBe(applied.length);
    // Each has said that it is there, and nobody took another for dead.
    expect(await database.knex('replicas').pluck<string[]>('name')).toHaveLength(REPLICAS);
  } finally {
    await Promise.all(replicas.map((replica) => replica.process.stop()));
    rmSync(directory, { recursive: true, force: true });
  }
}, 60_000);
