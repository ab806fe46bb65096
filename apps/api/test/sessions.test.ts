import type { Session } from '@streamspace/protocol';
import { createTestAgent, finishCommand, startTestApi, type TestApi } from './test-api.ts';

let test: TestApi;

beforeAll(async () => {
  test = await startTestApi({ env: { MAX_QUEUED_PER_AGENT: '5', COMMAND_EXPIRES_IN: '3600' } });
});

afterAll(async () => test[Symbol.asyncDispose]());

const client = () => test.client();

async function runningSession(agentId: string): Promise<Session> {
  const { session, command } = await client().sessions.create({ template: 'hello-web', agentId });
  await finishCommand(test.db, command!.id);
  return session;
}

it('answers a start with the session, its command and where it is', async () => {
  const agentId = await createTestAgent(test.db, { labels: { gpu: 'no' } });
  const answer = await test.api.call('/api/v1/sessions', {
    method: 'POST',
    body: {
      template: 'hello-web',
      agentId,
      name: 'mine',
      labels: { gpu: 'no' },
      resources: { cpu: '500m', memory: '1Gi' },
      env: { SECRET: 'tell nobody' },
    },
  });
  expect(answer.status).toBe(202);
  const { session, command } = answer.body;
  expect(answer.headers.get('location')).toBe(`/api/v1/sessions/${session.id}`);
  expect(session).toMatchObject({
    id: expect.stringMatching(/^ses_[0-9a-f-]{36}$/),
    name: 'mine',
    userId: 'admin',
    template: 'hello-web',
    state: 'pending',
    generation: 1,
    agentId,
    agentState: 'online',
    platform: 'process',
    resources: { cpu: '500m', memory: '1Gi' },
    error: null,
  });
  expect(command).toMatchObject({
    sessionId: session.id,
    action: 'start_session',
    status: 'pending',
    errorMessage: null,
    attempt: 0,
    sentEpoch: null,
    sentBy: null,
  });
  const lifetimeMs = Date.parse(command.expiresAt) - Date.parse(command.createdAt);
  expect(lifetimeMs).toBe(3_600_000);
  expect(JSON.stringify(answer.body)).not.toContain('tell nobody');
  const [row] = await test.db('agent_commands').where({ command_id: command.id });
  expect(row.payload).toMatchObject({
    env: { SECRET: 'tell nobody' },
    userId: 'admin',
    name: 'mine',
  });
  const read = await test.api.call(`/api/v1/commands/${command.id}`);
  expect(JSON.stringify(read.body)).not.toContain('tell nobody');
});

it('says of every agent why it was passed over', async () => {
  const offline = await createTestAgent(test.db, { state: 'offline' });
  const full = await createTestAgent(test.db, { maxSessions: 0, platform: 'process' });
  const answer = await test.api.call('/api/v1/sessions', {
    method: 'POST',
    body: { template: 'hello-web', region: 'moon' },
  });
  expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '5']);
  expect(answer.body.type).toBe('urn:streamspace:problem:no_agent_available');
  const reasons = new Map(
    answer.body.agents.map(({ agentId, code }: { agentId: string; code: string }) => [
      agentId,
      code,
    ]),
  );
  expect(reasons.get(offline)).toBe('region_mismatch');
  expect(reasons.get(full)).toBe('region_mismatch');
  expect(reasons.size).toBe(answer.body.agents.length);
});

it('accepts a pinned agent that is away, and says what is wrong with one that cannot', async () => {
  const away = await createTestAgent(test.db, { state: 'offline' });
  const create = (fields: object) =>
    test.api.call('/api/v1/sessions', {
      method: 'POST',
      body: { template: 'hello-web', ...fields },
    });
  expect((await create({ agentId: away })).status).toBe(202);
  expect((await create({ agentId: away, region: 'moon' })).body).toMatchObject({
    status: 409,
    type: 'urn:streamspace:problem:agent_unsuitable',
  });
  expect((await create({ agentId: 'nobody' })).body).toMatchObject({
    status: 422,
    type: 'urn:streamspace:problem:unknown_agent',
    errors: [{ pointer: '/agentId' }],
  });
  const full = await createTestAgent(test.db, { maxSessions: 0 });
  expect((await create({ agentId: full })).body).toMatchObject({
    status: 503,
    agents: [{ agentId: full, code: 'no_room' }],
  });
  const cordoned = await createTestAgent(test.db);
  await client().agents.cordon(cordoned);
  expect((await create({ agentId: cordoned })).body).toMatchObject({
    status: 409,
    type: 'urn:streamspace:problem:agent_cordoned',
  });
  await client().agents.delete(cordoned);
  expect((await create({ agentId: cordoned })).body).toMatchObject({
    status: 409,
    type: 'urn:streamspace:problem:agent_deleted',
  });
});

it('refuses what an agent’s queue has no place for, a stop excepted', async () => {
  const agentId = await createTestAgent(test.db, { state: 'offline' });
  const ids = [];
  for (let i = 0; i < 5; i += 1)
    ids.push((await client().sessions.create({ template: 'hello-web', agentId })).session.id);
  const before = await test.db('agent_commands').where({ agent_id: agentId });
  for (const refused of [
    client().sessions.create({ template: 'hello-web', agentId }),
    client().agents.command(agentId, 'ping'),
  ])
    await expect(refused).rejects.toMatchObject({ status: 429, code: 'queue_full' });
  expect(await test.db('agent_commands').where({ agent_id: agentId })).toHaveLength(before.length);
  expect((await client().sessions.stop(ids[0]!)).session.state).toBe('terminated');
});

it('stops once: again it answers with the same stop, and at the end with 200', async () => {
  const { id } = await runningSession(await createTestAgent(test.db, { state: 'offline' }));
  const path = `/api/v1/sessions/${id}`;
  const first = await test.api.call(path, { method: 'DELETE' });
  expect([first.status, first.body.session.state]).toEqual([202, 'terminating']);
  const second = await test.api.call(path, { method: 'DELETE' });
  expect([second.status, second.body.command.id]).toEqual([202, first.body.command.id]);
  await finishCommand(test.db, first.body.command.id as string);
  const last = await test.api.call(path, { method: 'DELETE' });
  expect([last.status, last.body.session.state, last.body.command]).toEqual([
    200,
    'terminated',
    null,
  ]);
});

it('hibernates what runs and wakes what sleeps, and nothing else', async () => {
  const agentId = await createTestAgent(test.db, { maxSessions: 1 });
  const started = await client().sessions.create({ template: 'hello-web', agentId });
  const { id } = started.session;
  await expect(client().sessions.hibernate(id)).rejects.toMatchObject({ code: 'session_busy' });
  await finishCommand(test.db, started.command!.id);
  await expect(client().sessions.wake(id)).rejects.toMatchObject({
    status: 409,
    code: 'wrong_state',
  });
  const hibernating = await client().sessions.hibernate(id);
  expect(hibernating).toMatchObject({ session: { state: 'hibernating', generation: 2 } });
  await finishCommand(test.db, hibernating.command!.id);
  const other = await client().sessions.create({ template: 'hello-web', agentId });
  await expect(client().sessions.wake(id)).rejects.toMatchObject({ status: 409, code: 'no_room' });
  await client().sessions.stop(other.session.id);
  expect(await client().sessions.wake(id)).toMatchObject({ session: { state: 'waking' } });
});

it('shows the last error as a code and a sentence', async () => {
  const agentId = await createTestAgent(test.db);
  const { session, command } = await client().sessions.create({ template: 'hello-web', agentId });
  await finishCommand(test.db, command!.id, {
    status: 'failed',
    error_code: 'command_missing',
    error_message: 'There is no such command.',
  });
  expect(await client().sessions.get(session.id)).toMatchObject({
    state: 'failed',
    error: { code: 'command_missing', message: 'There is no such command.' },
  });
  expect(await client().commands.get(command!.id)).toMatchObject({
    status: 'failed',
    errorCode: 'command_missing',
    errorMessage: 'There is no such command.',
    completedAt: expect.any(String),
  });
});

it('walks through lists page by page, in order, without a repeat', async () => {
  const agentId = await createTestAgent(test.db);
  const ids: string[] = [];
  for (let i = 0; i < 5; i += 1) {
    const { session, command } = await client().sessions.create({ template: 'hello-web', agentId });
    await finishCommand(test.db, command!.id);
    ids.push(session.id);
  }
  // Equal times, so that only the id tells them apart.
  await test
    .db('sessions')
    .whereIn('id', ids)
    .update({ created_at: '2020-01-01T00:00:00.123456Z' });
  const seen: string[] = [];
  let cursor: string | undefined;
  do {
    const page = await client().sessions.list({ agentId, limit: 2, ...(cursor && { cursor }) });
    expect(page.items.length).toBeLessThanOrEqual(2);
    seen.push(...page.items.map(({ id }) => id));
    cursor = page.nextCursor ?? undefined;
  } while (cursor !== undefined);
  expect(seen).toEqual(ids.toSorted().toReversed());

  const commands = await client().commands.list({ agentId, limit: 3 });
  const rest = await client().commands.list({ agentId, limit: 3, cursor: commands.nextCursor! });
  const commandIds = [...commands.items, ...rest.items].map(({ id }) => id);
  expect(commandIds).toHaveLength(5);
  expect(commandIds).toEqual(commandIds.toSorted().toReversed());
  expect(rest.nextCursor).toBeNull();
});

it('filters lists', async () => {
  const agentId = await createTestAgent(test.db, { state: 'offline' });
  const session = await runningSession(agentId);
  const of = async (query: object) =>
    (await client().sessions.list({ agentId, ...query })).items.map(({ id }) => id);
  expect(await of({ state: 'running', template: 'hello-web', userId: 'admin' })).toEqual([
    session.id,
  ]);
  expect(await of({ state: 'failed' })).toEqual([]);
  expect(await of({ template: 'desktop' })).toEqual([]);
  expect(await of({ userId: 'alice' })).toEqual([]);
  const commands = async (query: object) =>
    (await client().commands.list({ sessionId: session.id, ...query })).items.length;
  expect(await commands({ status: 'completed', action: 'start_session', agentId })).toBe(1);
  expect(await commands({ status: 'pending' })).toBe(0);
});

it('cancels what was never sent, and no stop', async () => {
  const agentId = await createTestAgent(test.db, { state: 'offline' });
  const { session, command } = await client().sessions.create({ template: 'hello-web', agentId });
  expect(await client().commands.cancel(command!.id)).toMatchObject({
    status: 'cancelled',
    errorCode: 'cancelled',
  });
  expect(await client().sessions.get(session.id)).toMatchObject({ state: 'failed' });
  await expect(client().commands.cancel(command!.id)).rejects.toMatchObject({
    status: 409,
    code: 'command_ended',
  });
  const { id } = await runningSession(agentId);
  const stop = await client().sessions.stop(id);
  await expect(client().commands.cancel(stop.command!.id)).rejects.toMatchObject({
    code: 'command_is_stop',
  });
});
