import { startFaultProxy } from '@streamspace/testkit';
import { ADMIN_TOKEN, eventually, startTestApi, startTestReplica } from './test-api.ts';

it('answers 503 with Retry-After while Postgres is away, and is back with it', async () => {
  await using test = await startTestApi();
  const address = new URL(test.database.url);
  await using proxy = await startFaultProxy({
    target: { host: address.hostname, port: Number(address.port) },
  });
  const throughProxy = new URL(address);
  throughProxy.hostname = proxy.host;
  throughProxy.port = String(proxy.port);
  // A prefix of its own: without peers it cannot be the odd one out.
  await using replica = await startTestReplica({
    HOST: '127.0.0.1',
    PORT: '0',
    DATABASE_URL: throughProxy.href,
    REDIS_URL: test.redis.url,
    REDIS_PREFIX: `${test.redis.prefix}-alone`,
    STREAMSPACE_ADMIN_TOKEN: ADMIN_TOKEN,
    DRAIN_DELAY: '0',
    DRAIN_WINDOW: '0',
    REPLICA_NAME: 'api-2',
  });
  expect((await replica.call('/api/v1/sessions', { token: test.tokens.alice })).status).toBe(200);

  proxy.refuse();
  proxy.reset();
  for (const [method, path] of [
    ['GET', '/api/v1/sessions'],
    ['DELETE', '/api/v1/sessions/ses_x'],
    ['POST', '/api/v1/agents/x/cordon'],
  ]) {
    const answer = await replica.call(path!, { method: method! });
    expect([path, answer.status, answer.headers.get('retry-after')]).toEqual([path, 503, '2']);
    expect(answer.body.type).toBe('urn:streamspace:problem:unavailable');
    expect(answer.body.detail).not.toMatch(/connect|ECONN|postgres/i);
  }
  // A token that was known a moment ago still is; one that was not cannot be looked up.
  const unknown = await replica.call('/api/v1/sessions', { token: test.tokens.bob });
  expect(unknown.status).toBe(503);
  expect((await replica.call('/livez')).status).toBe(200);
  await eventually(async () => {
    const { status, body } = await replica.call('/readyz');
    expect([status, body.status, body.postgres]).toEqual([200, 'degraded', 'away']);
  });

  proxy.allow();
  await eventually(async () => expect((await replica.call('/api/v1/sessions')).status).toBe(200));
  await eventually(async () =>
    expect((await replica.call('/readyz')).body).toMatchObject({ status: 'ready' }),
  );
}, 40_000);
