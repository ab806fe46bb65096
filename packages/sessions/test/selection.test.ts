import { createTestDatabase, type TestDatabase } from '@streamspace/testkit';
import type { SessionError } from '../src/index.ts';
import {
  addAgent,
  createTestService,
  removeAgents,
  USER,
  type TestService,
} from './sessions-of-a-database.ts';

let database: TestDatabase;
let test: TestService;

beforeAll(async () => {
  database = await createTestDatabase();
  await database.knex('users').insert({ id: USER, username: USER });
  test = createTestService(database);
});

afterEach(async () => removeAgents(database.knex));

afterAll(async () => {
  await test[Symbol.asyncDispose]();
  await database.drop();
});

const agentOf = async (request = {}): Promise<string | null> =>
  (await test.create(request)).session.agentId;

async function refusal(request = {}): Promise<SessionError> {
  return test.create(request).then(
    () => Promise.reject(new Error('it was accepted')),
    (error: SessionError) => error,
  );
}

it('never overfills: 200 at once over three services on room for 37', async () => {
  const sizes = [1, 2, 4, 5, 7, 8, 10];
  for (const max_sessions of sizes) await addAgent(database.knex, { queue: { max_sessions } });
  const services = [createTestService(database), createTestService(database), test];
  const results = await Promise.allSettled(
    Array.from({ length: 200 }, (_, i) => services[i % 3]!.create()),
  );
  const refused = results.flatMap((result) =>
    result.status === 'rejected' ? [(result.reason as SessionError).code] : [],
  );
  expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(37);
  expect(new Set(refused)).toEqual(new Set(['no_agent_available']));
  const queues = await database
    .knex('agent_queues')
    .select<{ reserved_sessions: number; max_sessions: number; next_seq: string }[]>();
  expect(queues.map((queue) => queue.reserved_sessions).toSorted((a, b) => a - b)).toEqual(sizes);
  for (const { reserved_sessions, max_sessions, next_seq } of queues) {
    expect(reserved_sessions).toBe(max_sessions);
    expect(Number(next_seq)).toBe(max_sessions + 1);
  }
  expect(await database.knex('sessions').where({ holds_room: true })).toHaveLength(37);
  for (const service of services.slice(0, 2)) await service[Symbol.asyncDispose]();
});

it('never overfills CPU and memory either', async () => {
  const queue = { capacity_cpu_millis: 4000, capacity_memory_bytes: 10 * 2 ** 30 };
  for (let i = 0; i < 3; i += 1) await addAgent(database.knex, { queue });
  const results = await Promise.allSettled(
    Array.from({ length: 60 }, () => test.create({ resources: { cpu: '900m', memory: '1Gi' } })),
  );
  expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(12);
});

it('finds the last room, however many others look for it', async () => {
  for (let i = 0; i < 40; i += 1) await addAgent(database.knex, { queue: { max_sessions: 1 } });
  const results = await Promise.allSettled(Array.from({ length: 40 }, () => test.create()));
  expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(40);
});

it('takes the least loaded by its share of what it has', async () => {
  const big = await addAgent(database.knex, {
    queue: { max_sessions: 100, reserved_sessions: 40 },
  });
  const small = await addAgent(database.knex, { queue: { max_sessions: 2, reserved_sessions: 1 } });
  expect(await agentOf()).toBe(big);
  await database.knex('agent_queues').where({ agent_id: big }).update({ reserved_sessions: 60 });
  expect(await agentOf()).toBe(small);
});

it('looks at whatever is scarcest', async () => {
  await addAgent(database.knex, {
    queue: { max_sessions: 10, capacity_cpu_millis: 1000, reserved_cpu_millis: 900 },
  });
  const free = await addAgent(database.knex, {
    queue: {
      max_sessions: 10,
      reserved_sessions: 5,
      capacity_memory_bytes: 1000,
      reserved_memory_bytes: 500,
    },
  });
  expect(await agentOf()).toBe(free);
});

it('spreads over equals', async () => {
  const agents = [];
  for (let i = 0; i < 4; i += 1)
    agents.push(await addAgent(database.knex, { queue: { max_sessions: 50 } }));
  const counts = new Map<string | null, number>();
  for (let i = 0; i < 40; i += 1) {
    const agentId = await agentOf();
    counts.set(agentId, (counts.get(agentId) ?? 0) + 1);
  }
  expect([...counts.values()]).toEqual([10, 10, 10, 10]);
});

it('is not limited by what it does not know', async () => {
  const agentId = await addAgent(database.knex);
  expect(await agentOf({ resources: { cpu: '64', memory: '1Ti' } })).toBe(agentId);
});

it('asks for platform, region and the labels of template and request', async () => {
  await addAgent(database.knex, { platform: 'kubernetes', region: 'eu' });
  await addAgent(database.knex, { region: 'us', labels: { gpu: 'a', disk: 'ssd' } });
  await addAgent(database.knex, { region: 'eu', labels: { gpu: 'b' } });
  const right = await addAgent(database.knex, { region: 'eu', labels: { gpu: 'a', disk: 'ssd' } });
  expect(await agentOf({ region: 'eu', labels: { gpu: 'a' }, platform: 'process' })).toBe(right);
  const desktop = await refusal({ template: 'desktop' });
  expect(desktop.agents).toContainEqual({
    agentId: right,
    code: 'labels_missing',
    reason: 'It lacks desktop=true.',
  });
  const withDesktop = await addAgent(database.knex, { labels: { desktop: 'true', gpu: 'a' } });
  expect(await agentOf({ template: 'desktop', labels: { gpu: 'a' } })).toBe(withDesktop);
});

it('takes one that was lost a moment ago only where none online has room', async () => {
  const lost = await addAgent(database.knex, { state: 'lost' });
  const orphan = await addAgent(database.knex, { state: 'owner is gone' });
  const online = await addAgent(database.knex, { queue: { max_sessions: 1 } });
  expect(await agentOf()).toBe(online);
  expect([lost, orphan]).toContain(await agentOf());
  await addAgent(database.knex, { state: 'offline' });
  await database.knex('agent_queues').whereNot({ agent_id: online }).update({ cordoned: true });
  expect((await refusal()).code).toBe('no_agent_available');
});

it('says of each agent why it was passed over', async () => {
  const expected = new Map([
    [await addAgent(database.knex, { platform: 'kubernetes' }), 'platform_mismatch'],
    [await addAgent(database.knex, { region: 'us' }), 'region_mismatch'],
    [await addAgent(database.knex, { region: 'eu' }), 'labels_missing'],
  ]);
  const fits = { region: 'eu', labels: { a: '1' } };
  const add = async (code: string, options: object): Promise<void> => {
    expected.set(await addAgent(database.knex, { ...fits, ...options }), code);
  };
  await add('offline', { state: 'offline' });
  await add('agent_cordoned', { queue: { cordoned: true } });
  await add('agent_not_approved', { approval: 'pending' });
  await add('no_room', { queue: { max_sessions: 3, reserved_sessions: 3 } });
  await add('no_room', { queue: { capacity_cpu_millis: 100 } });
  await add('no_room', { queue: { capacity_memory_bytes: 100 } });
  await addAgent(database.knex, { ...fits, queue: { deleted_at: new Date() } });
  const { code, agents } = await refusal({ ...fits, resources: { cpu: '1', memory: '1Mi' } });
  expect(code).toBe('no_agent_available');
  expect(new Map(agents!.map((agent) => [agent.agentId, agent.code]))).toEqual(expected);
  for (const { reason } of agents!) expect(reason).toMatch(/^[A-Z].*\.$/);
});

it('passes over an agent whose queue is full, and counts only what is open', async () => {
  await using limited = createTestService(database, 3);
  const agentId = await addAgent(database.knex);
  const ids = [];
  for (let i = 0; i < 3; i += 1) ids.push((await limited.create()).command!.id);
  const error = await limited.create().catch((reason: SessionError) => reason);
  expect(error).toMatchObject({ code: 'no_agent_available', agents: [{ code: 'queue_full' }] });
  await expect(limited.create({ agentId })).rejects.toMatchObject({ code: 'queue_full' });
  await database
    .knex('agent_commands')
    .where({ command_id: ids[1] })
    .update({ status: 'completed', completed_at: database.knex.fn.now() });
  expect((await limited.create()).session.agentId).toBe(agentId);
});

it('tries an approval that upstream left empty as its default, approved', async () => {
  const agentId = await addAgent(database.knex, { approval: null });
  expect(await agentOf()).toBe(agentId);
});

it('refuses what no agent could hold, before it looks for one', async () => {
  const tooMuch = { resources: { memory: '999999999999999Ti' } };
  expect((await refusal(tooMuch)).code).toBe('resources_too_large');
  expect((await refusal({ platform: 'windows' })).code).toBe('platform_not_supported');
  expect((await refusal({ template: 'nothing' })).code).toBe('unknown_template');
});
