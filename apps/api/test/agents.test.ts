import { hashAgentKey } from '@streamspace/agent-hub';
import { createTestAgent, finishCommand, startTestApi, type TestApi } from './test-api.ts';

let test: TestApi;

beforeAll(async () => {
  test = await startTestApi();
});

afterAll(async () => test[Symbol.asyncDispose]());

const client = () => test.client();

it('adds an agent, shows its key once and stores its hash', async () => {
  const { agent, key } = await client().agents.create({
    agentId: 'box-1',
    platform: 'process',
    region: 'home',
    labels: { desktop: 'true' },
  });
  expect(agent).toMatchObject({
    agentId: 'box-1',
    state: 'offline',
    connectionEpoch: 0,
    replica: null,
    cordoned: false,
    capacity: {},
    load: { sessions: 0 },
    queueLength: 0,
    labels: { desktop: 'true' },
  });
  expect(key).toMatch(/^ssa_[\w-]{43}$/);
  const [stored] = await test.db('agent_keys').where({ agent_id: 'box-1' });
  expect(stored).toMatchObject({ key_hash: hashAgentKey(key!), expires_at: null });
  expect(await client().agents.get('box-1')).not.toHaveProperty('key');
  await expect(
    client().agents.create({ agentId: 'box-1', platform: 'process' }),
  ).rejects.toMatchObject({ status: 409, code: 'agent_exists' });
});

it('lists agents by id, and by state, platform and region', async () => {
  await createTestAgent(test.db, { agentId: 'z-online', region: 'there' });
  await createTestAgent(test.db, { agentId: 'z-lost', state: 'lost', platform: 'kubernetes' });
  const ids = async (query: object) =>
    (await client().agents.list({ limit: 200, ...query })).items.map(({ agentId }) => agentId);
  const all = await ids({});
  expect(all).toEqual(all.toSorted());
  expect(await ids({ state: 'online', region: 'there' })).toEqual(['z-online']);
  expect(await ids({ state: 'lost' })).toEqual(['z-lost']);
  expect(await ids({ platform: 'kubernetes' })).toEqual(['z-lost']);
  const first = await client().agents.list({ limit: 1 });
  const second = await client().agents.list({ limit: 1, cursor: first.nextCursor! });
  expect([...first.items, ...second.items].map(({ agentId }) => agentId)).toEqual(all.slice(0, 2));
});

it('counts what an agent has and what waits for it', async () => {
  const agentId = await createTestAgent(test.db, { maxSessions: 9 });
  await client().sessions.create({
    template: 'hello-web',
    agentId,
    resources: { cpu: '1.5', memory: '1Ki' },
  });
  await client().agents.command(agentId, 'ping');
  expect(await client().agents.get(agentId)).toMatchObject({
    state: 'online',
    replica: 'elsewhere',
    load: { sessions: 1, cpu: '1500m', memory: '1024' },
    queueLength: 2,
  });
});

it('cordons and uncordons', async () => {
  const agentId = await createTestAgent(test.db);
  expect(await client().agents.cordon(agentId)).toMatchObject({ cordoned: true });
  await expect(client().sessions.create({ template: 'hello-web', agentId })).rejects.toMatchObject({
    code: 'agent_cordoned',
  });
  expect(await client().agents.uncordon(agentId)).toMatchObject({ cordoned: false });
  await expect(client().agents.cordon('nobody')).rejects.toMatchObject({ status: 404 });
});

it('drains: takes nothing new and stops what is there', async () => {
  const agentId = await createTestAgent(test.db);
  const waiting = await client().sessions.create({ template: 'hello-web', agentId });
  const running = await client().sessions.create({ template: 'hello-web', agentId });
  await finishCommand(test.db, running.command!.id);
  expect(await client().agents.drain(agentId)).toMatchObject({
    agent: { cordoned: true },
    stopping: 2,
  });
  expect((await client().sessions.get(waiting.session.id)).state).toBe('terminated');
  expect((await client().sessions.get(running.session.id)).state).toBe('terminating');
});

it('rotates a key: the old one serves for a while, or not at all', async () => {
  const agentId = 'rotated';
  const { key: first } = await client().agents.create({ agentId, platform: 'process' });
  const rotated = await client().agents.rotateKey(agentId, { graceSeconds: 600 });
  const graceMs = Date.parse(rotated.previousKeyExpiresAt!) - Date.now();
  expect(Math.abs(graceMs - 600_000)).toBeLessThan(5000);
  const hashes = async () =>
    (
      await test.db('agent_keys').where({ agent_id: agentId }).pluck<string[]>('key_hash')
    ).toSorted();
  expect(await hashes()).toEqual([hashAgentKey(first!), hashAgentKey(rotated.key!)].toSorted());
  // A later rotation with a longer grace does not prolong what was to end sooner.
  const longer = await client().agents.rotateKey(agentId, { graceSeconds: 604_800 });
  const [oldest] = await test.db('agent_keys').where({ key_hash: hashAgentKey(first!) });
  expect(oldest.expires_at.toISOString()).toBe(rotated.previousKeyExpiresAt);
  const last = await client().agents.rotateKey(agentId, { graceSeconds: 0 });
  expect(last.previousKeyExpiresAt).toBeNull();
  expect(await hashes()).toEqual([hashAgentKey(last.key!)]);
  expect(longer.key).not.toBe(last.key);
  await expect(client().agents.rotateKey('nobody')).rejects.toMatchObject({ status: 404 });
});

it('refuses to remove an agent that has sessions, unless forced, and takes its id again', async () => {
  const agentId = await createTestAgent(test.db);
  const waiting = await client().sessions.create({ template: 'hello-web', agentId });
  const running = await client().sessions.create({ template: 'hello-web', agentId });
  await finishCommand(test.db, running.command!.id);
  await expect(client().agents.delete(agentId)).rejects.toMatchObject({
    status: 409,
    code: 'agent_has_sessions',
    message: expect.stringContaining('2 sessions'),
  });
  await client().agents.delete(agentId, { force: true });
  await expect(client().agents.get(agentId)).rejects.toMatchObject({ status: 404 });
  await expect(client().agents.delete(agentId)).rejects.toMatchObject({ status: 404 });
  for (const { session } of [waiting, running])
    expect(await client().sessions.get(session.id)).toMatchObject({
      state: 'failed',
      error: { code: 'agent_deleted' },
    });
  expect(await client().commands.get(waiting.command!.id)).toMatchObject({
    status: 'cancelled',
    errorCode: 'agent_deleted',
  });
  const again = await client().agents.create({ agentId, platform: 'process', labels: { a: '1' } });
  expect(again.agent).toMatchObject({ agentId, labels: { a: '1' }, load: { sessions: 0 } });
  expect(again.key).toMatch(/^ssa_/);
});

it('of two that add the same agent one succeeds', async () => {
  const results = await Promise.allSettled(
    Array.from({ length: 8 }, () =>
      client().agents.create({ agentId: 'contested', platform: 'process' }),
    ),
  );
  expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  expect(await test.db('agent_keys').where({ agent_id: 'contested' })).toHaveLength(1);
});

it('refuses session actions as agent commands, and names the right route', async () => {
  const agentId = await createTestAgent(test.db);
  for (const [action, route] of [
    ['start_session', 'POST /api/v1/sessions'],
    ['stop_session', 'DELETE /api/v1/sessions/{id}'],
  ]) {
    const answer = await test.api.call(`/api/v1/agents/${agentId}/commands`, {
      method: 'POST',
      body: { action },
    });
    expect(answer.status).toBe(400);
    expect(answer.body.errors).toEqual([
      { pointer: '/action', detail: expect.stringContaining(route!) },
    ]);
  }
});

it('says that an agent which is away cannot be pinged', async () => {
  const agentId = await createTestAgent(test.db, { state: 'offline' });
  await expect(client().agents.ping(agentId)).rejects.toMatchObject({
    status: 503,
    code: 'agent_away',
    retryAfterSeconds: 2,
  });
  await expect(client().agents.ping('nobody')).rejects.toMatchObject({ status: 404 });
});
