import { createTestAgent, startTestApi, type CallOptions, type TestApi } from './test-api.ts';

let test: TestApi;
let agentId: string;

beforeAll(async () => {
  test = await startTestApi({ replicas: 3 });
  agentId = await createTestAgent(test.db);
});

afterAll(async () => test[Symbol.asyncDispose]());

const send = (path: string, key: string, options: CallOptions = {}, replica = 0) =>
  test.replicas[replica]!.call(`/api/v1${path}`, {
    method: 'POST',
    ...options,
    headers: { 'idempotency-key': key, ...options.headers },
  });

const count = async (table: string): Promise<number> =>
  Number((await test.db(table).count<{ count: string }[]>('* as count'))[0]!.count);

it('carries out fifty requests with one key once, and answers all of them alike', async () => {
  const before = await count('agent_commands');
  const answers = await Promise.all(
    Array.from({ length: 50 }, (_, i) =>
      send('/sessions', 'race', { body: { template: 'hello-web', agentId } }, i % 3),
    ),
  );
  expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 202));
  expect(new Set(answers.map(({ body }) => JSON.stringify(body))).size).toBe(1);
  expect(new Set(answers.map(({ headers }) => headers.get('location'))).size).toBe(1);
  const replayed = answers.filter(({ headers }) => headers.get('idempotency-replayed') === 'true');
  expect(replayed).toHaveLength(49);
  expect(await count('agent_commands')).toBe(before + 1);
});

it('tells the same request from another, whatever the order and the spaces', async () => {
  const first = await send('/sessions', 'order', {
    text: `{"template":"hello-web","agentId":"${agentId}","labels":{"a":"1","b":"2"}}`,
  });
  const again = await send('/sessions', 'order', {
    text: `{ "labels" : {"b":"2","a":"1"}, "agentId":"${agentId}", "template":"hello-web" }`,
  });
  expect(first.status).not.toBe(202);
  expect(again.headers.get('idempotency-replayed')).toBeNull();
  const body = { template: 'hello-web', agentId };
  const accepted = await send('/sessions', 'same', { body });
  const replay = await send('/sessions', 'same', { body: { agentId, template: 'hello-web' } }, 1);
  expect(replay.body).toEqual(accepted.body);
  const other = await send('/sessions', 'same', { body: { ...body, name: 'other' } });
  expect([other.status, other.body.type]).toEqual([
    422,
    'urn:streamspace:problem:idempotency_key_reused',
  ]);
});

it('keeps nothing of what failed', async () => {
  const late = `late-${agentId}`;
  const body = { template: 'hello-web', agentId: late };
  expect((await send('/sessions', 'failed', { body })).status).toBe(422);
  await createTestAgent(test.db, { agentId: late });
  expect((await send('/sessions', 'failed', { body })).status).toBe(202);
});

it('keeps the keys of users, routes and resources apart', async () => {
  const body = { template: 'hello-web', agentId };
  const mine = await send('/sessions', 'shared', { body, token: test.tokens.alice });
  const theirs = await send('/sessions', 'shared', { body, token: test.tokens.bob });
  expect(mine.body.session.id).not.toBe(theirs.body.session.id);
  const other = await createTestAgent(test.db);
  for (const id of [agentId, other]) {
    const command = await send(`/agents/${id}/commands`, 'shared', { body: { action: 'ping' } });
    expect([command.status, command.body.agentId]).toEqual([202, id]);
    const again = await send(`/agents/${id}/commands`, 'shared', { body: { action: 'ping' } });
    expect(again.body).toEqual(command.body);
  }
});

it('shows a secret once: the replay says that it was shown', async () => {
  const body = { agentId: 'secret-agent', platform: 'process' };
  const created = await send('/agents', 'secret', { body });
  expect(created.body.key).toMatch(/^ssa_[\w-]{43}$/);
  const replay = await send('/agents', 'secret', { body }, 2);
  expect([replay.status, replay.body.key, replay.body.secretShown]).toEqual([201, undefined, true]);
  expect(replay.body.agent).toEqual(created.body.agent);
  const rotated = await send('/agents/secret-agent/rotate-key', 'secret');
  const rotatedAgain = await send('/agents/secret-agent/rotate-key', 'secret');
  expect(rotated.body.key).toMatch(/^ssa_/);
  expect(rotatedAgain.body).toMatchObject({ secretShown: true });
  expect(rotatedAgain.body.key).toBeUndefined();
  const kept = JSON.stringify(await test.db('idempotency_keys').select());
  expect(kept).not.toContain(created.body.key);
  expect(kept).not.toContain(rotated.body.key);
  expect(await test.db('agent_keys').where({ agent_id: 'secret-agent' })).toHaveLength(2);
});

it.each(['cordon', 'uncordon', 'drain'])('replays %s', async (action) => {
  const first = await send(`/agents/${agentId}/${action}`, `key of ${action}`);
  const again = await send(`/agents/${agentId}/${action}`, `key of ${action}`);
  expect(again.headers.get('idempotency-replayed')).toBe('true');
  expect([again.status, again.body]).toEqual([first.status, first.body]);
});

it.each(['', 'x'.repeat(256), 'tab\tin it', 'é'])('refuses %j as a key', async (key) => {
  const answer = await send('/sessions', key, { body: { template: 'hello-web', agentId } });
  expect([answer.status, answer.body.type]).toEqual([
    400,
    'urn:streamspace:problem:invalid_idempotency_key',
  ]);
});
