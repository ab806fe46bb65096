import { startTestRedis } from '@streamspace/testkit';
import { openStream } from './live-events.ts';
import { createTestAgent, eventually, finishCommand, startTestApi } from './test-api.ts';

type Redis = Awaited<ReturnType<typeof startTestRedis>>;

let redis: Redis;

beforeAll(async () => {
  redis = await startTestRedis();
});

afterAll(async () => redis.stop());

it('goes on without Redis, and tells readers of the gap once it is back', async () => {
  await using test = await startTestApi({ replicas: 2, redisUrl: redis.url });
  const agentId = await createTestAgent(test.db);
  const before = await openStream(test.api.url, { token: test.tokens.admin });
  await eventually(() => expect(before.ids).toHaveLength(1));

  await redis.stop();
  await eventually(async () =>
    expect((await test.api.call('/readyz')).body).toMatchObject({
      status: 'degraded',
      redis: 'away',
    }),
  );
  expect((await test.api.call('/readyz')).status).toBe(200);

  const started = performance.now();
  const created = await test.client().sessions.create({ template: 'hello-web', agentId });
  expect(performance.now() - started).toBeLessThan(1000);
  const waiting = test.client().sessions.stop(created.session.id, { waitSeconds: 20 });
  expect((await waiting).session.state).toBe('terminated');

  const during = await openStream(test.api.url, { token: test.tokens.admin });
  // Nobody can tell the replica that waits: it looks.
  const again = await test.client().sessions.create({ template: 'hello-web', agentId });
  await finishCommand(test.db, again.command!.id);
  const stop = test.replicas[1]!.call(`/api/v1/sessions/${again.session.id}`, {
    method: 'DELETE',
    headers: { prefer: 'wait=20' },
  });
  const stopId = await eventually(async () => {
    const { items } = await test
      .client()
      .commands.list({ action: 'stop_session', status: 'pending' });
    expect(items).toHaveLength(1);
    return items[0]!.id;
  });
  await finishCommand(test.db, stopId);
  const endedAt = performance.now();
  expect((await stop).body.session.state).toBe('terminated');
  expect(performance.now() - endedAt).toBeLessThan(2000);

  const port = Number(new URL(redis.url).port);
  redis = await startTestRedis({ port });
  for (const stream of [before, during])
    await eventually(
      () => expect(stream.events.map(({ event }) => event)).toContain('reset'),
      15_000,
    );
  const after = await test.client().sessions.create({ template: 'hello-web', agentId });
  for (const stream of [before, during])
    await eventually(() => expect(JSON.stringify(stream.events)).toContain(after.session.id));
  before.close();
  during.close();
}, 40_000);
