import { createTestDatabase, createTestRedis } from '@streamspace/testkit';
import { connectForMigration, migrateToLatest } from '@streamspace/database';
import { pino } from 'pino';
import { createApp } from '../src/app.ts';
import { loadConfig } from '../src/config.ts';
import {
  ADMIN_TOKEN,
  createTestAgent,
  eventually,
  startTestApi,
  startTestReplica,
  toTestReplica,
} from './test-api.ts';

const logger = pino({ level: 'silent' });

it('waits for the schema, alive and not ready, and never migrates', async () => {
  await using database = await createTestDatabase({ isEmpty: true });
  await using redis = await createTestRedis();
  const app = createApp({
    config: loadConfig({
      HOST: '127.0.0.1',
      PORT: '0',
      DATABASE_URL: database.url,
      REDIS_URL: redis.url,
      REDIS_PREFIX: redis.prefix,
      STREAMSPACE_ADMIN_TOKEN: ADMIN_TOKEN,
      DRAIN_DELAY: '0',
      DRAIN_WINDOW: '0',
    }),
    logger,
    version: 'test',
  });
  const started = app.start();
  const replica = await eventually(() => toTestReplica(app));
  expect((await replica.call('/livez')).status).toBe(200);
  await eventually(async () => {
    const ready = await replica.call('/readyz');
    expect(ready).toMatchObject({ status: 503, body: { status: 'starting' } });
    expect(ready.body.missingMigrations).toContain('009_queue_functions');
  });
  const early = await replica.call('/api/v1/sessions');
  expect([early.status, early.headers.get('retry-after')]).toEqual([503, '1']);

  const migrator = connectForMigration({ url: database.url, applicationName: 'test' });
  await migrateToLatest(migrator);
  await migrator.destroy();
  await started;
  expect(await replica.call('/readyz')).toMatchObject({ status: 200, body: { status: 'ready' } });
  expect((await replica.call('/api/v1/sessions')).status).toBe(200);
  await app.stop();
});

it('can be stopped while it still waits for the schema', async () => {
  await using database = await createTestDatabase({ isEmpty: true });
  await using redis = await createTestRedis();
  const app = createApp({
    config: loadConfig({ PORT: '0', DATABASE_URL: database.url, REDIS_URL: redis.url }),
    logger,
    version: 'test',
  });
  const started = app.start();
  await app.stop();
  await expect(started).rejects.toThrow('aborted');
});

it('finishes what it has begun before it ends', async () => {
  await using test = await startTestApi();
  const agentId = await createTestAgent(test.db);
  const second = await startTestReplica({
    HOST: '127.0.0.1',
    PORT: '0',
    DATABASE_URL: test.database.url,
    REDIS_URL: test.redis.url,
    REDIS_PREFIX: test.redis.prefix,
    STREAMSPACE_ADMIN_TOKEN: ADMIN_TOKEN,
    DRAIN_DELAY: '0.3',
    DRAIN_WINDOW: '0',
    REPLICA_NAME: 'api-2',
  });
  const waiting = second.call('/api/v1/sessions', {
    method: 'POST',
    body: { template: 'hello-web', agentId },
    headers: { prefer: 'wait=30' },
  });
  await eventually(async () =>
    expect((await test.client().sessions.list({ agentId })).items).toHaveLength(1),
  );
  const stopped = second.app.stop();
  expect(await second.call('/readyz')).toMatchObject({ status: 503, body: { status: 'draining' } });
  expect((await second.call('/api/v1/sessions')).status).toBe(200);
  const answer = await waiting;
  expect([answer.status, answer.body.session.state]).toEqual([202, 'pending']);
  await stopped;
  await expect(second.call('/livez')).rejects.toThrow('fetch failed');
  const rows = await test.db('replicas').where({ name: 'api-2' });
  expect(rows).toEqual([]);
});

it('serves health and metrics on the internal port alone, where there is one', async () => {
  await using test = await startTestApi({ env: { INTERNAL_PORT: '0' } });
  for (const path of ['/livez', '/readyz', '/metrics', '/version'])
    expect((await test.api.call(path)).status).toBe(404);
  const internal = `http://127.0.0.1:${test.api.app.internalPort}`;
  for (const path of ['/livez', '/readyz', '/metrics', '/version'])
    expect((await fetch(internal + path)).status).toBe(200);
  expect((await fetch(`${internal}/api/v1/sessions`)).status).toBe(404);
  const { body } = await test.api.call('/api/v1/openapi.json');
  expect(body.paths).toHaveProperty('/readyz');
});

it('measures requests by route, never by id', async () => {
  await using test = await startTestApi();
  await test.api.call('/api/v1/sessions/ses_secret-id');
  await test.api.call('/nowhere/at-all');
  const { body, headers } = await test.api.call('/metrics', { token: '' });
  expect(headers.get('content-type')).toContain('text/plain');
  expect(body).toContain(
    'http_server_request_duration_seconds_count{route="/api/v1/sessions/:id",method="GET",status="404"} 1',
  );
  expect(body).toContain('route="none"');
  expect(body).toContain('process_cpu_seconds_total');
  expect(body).toContain('streamspace_agent_connections 0');
  expect(body).not.toContain('secret-id');
  expect(body).not.toContain('nowhere');
});

it('says what runs', async () => {
  await using test = await startTestApi();
  expect((await test.api.call('/version', { token: '' })).body).toEqual({
    version: '0.0.0-test',
    api: 'v1',
    agentProtocol: 1,
    replica: 'api-1',
    node: process.versions.node,
  });
});

it('logs no token, no query and no body', async () => {
  const lines: string[] = [];
  await using test = await startTestApi();
  const app = createApp({
    config: loadConfig({
      HOST: '127.0.0.1',
      PORT: '0',
      DATABASE_URL: test.database.url,
      REDIS_URL: test.redis.url,
      REDIS_PREFIX: test.redis.prefix,
      STREAMSPACE_ADMIN_TOKEN: ADMIN_TOKEN,
      DRAIN_DELAY: '0',
      DRAIN_WINDOW: '0',
    }),
    logger: pino({ level: 'trace' }, { write: (line: string) => void lines.push(line) }),
    version: 'test',
  });
  await app.start();
  const replica = toTestReplica(app);
  await replica.call('/api/v1/sessions?cursor=query-secret');
  await replica.call('/api/v1/sessions', {
    method: 'POST',
    body: { template: 'body-secret', env: { PASSWORD: 'body-secret' } },
    headers: { 'x-request-id': 'find-me', 'idempotency-key': 'header-secret' },
  });
  await app.stop();
  const log = lines.join('');
  expect(log).toContain('find-me');
  expect(log).toContain('"user":"admin"');
  expect(log).not.toMatch(/query-secret|body-secret|header-secret/);
  expect(log).not.toContain(ADMIN_TOKEN);
});
