import { createTestDatabase, type TestDatabase } from '@streamspace/testkit';
import { queryRows } from '../src/index.ts';
import {
  change,
  commandOf,
  createAgent,
  finish,
  markSent,
  readQueue,
  readSession,
  start,
  startAccepted,
  startRunning,
} from './queue-fixture.ts';

let database: TestDatabase;

beforeAll(async () => {
  database = await createTestDatabase({ poolSize: 16 });
});

afterAll(() => database[Symbol.asyncDispose]());

// K10.
it('never overfills an agent: a hundred starts at once where seven fit', async () => {
  const agentId = await createAgent(database.knex, { maxSessions: 7 });

  const answers = await Promise.all(
    Array.from({ length: 100 }, () => start(database.knex, agentId)),
  );

  expect(answers.filter(({ kind }) => kind === 'accepted')).toHaveLength(7);
  expect(answers.filter(({ kind }) => kind === 'no_room')).toHaveLength(93);
  expect(await readQueue(database.knex, agentId)).toMatchObject({
    reserved_sessions: 7,
    next_seq: '8',
  });
  expect(await database.knex('sessions').where({ agent_id: agentId })).toHaveLength(7);
  expect(
    await database.knex('agent_commands').where({ agent_id: agentId }).orderBy('seq').pluck('seq'),
  ).toEqual(['1', '2', '3', '4', '5', '6', '7']);
});

it('never overfills an agent’s memory, and the last of it can be taken', async () => {
  const agentId = await createAgent(database.knex, { memoryBytes: 1000 });

  const answers = await Promise.all(
    Array.from({ length: 30 }, (_, n) =>
      start(database.knex, agentId, { memoryBytes: n % 2 === 0 ? 250 : 125 }),
    ),
  );

  const held = await database.knex('sessions').where({ agent_id: agentId, holds_room: true });
  const memory = held.reduce((sum, row) => sum + Number(row.room_memory_bytes), 0);
  expect(memory).toBe(1000);
  expect(await readQueue(database.knex, agentId)).toMatchObject({
    reserved_memory_bytes: '1000',
    reserved_sessions: answers.filter(({ kind }) => kind === 'accepted').length,
  });
});

it.each([
  ['cordoned', { cordoned: true }],
  ['deleted', { deleted_at: new Date() }],
])('reserves nothing on an agent that is %s', async (_, state) => {
  const agentId = await createAgent(database.knex);
  await database.knex('agent_queues').where({ agent_id: agentId }).update(state);

  expect(await start(database.knex, agentId)).toEqual({ kind: 'no_room' });

  expect(await readQueue(database.knex, agentId)).toMatchObject({
    next_seq: '1',
    reserved_sessions: 0,
  });
  expect(await database.knex('sessions').where({ agent_id: agentId })).toEqual([]);
});

it('gives room back once, however often the session ends', async () => {
  const agentId = await createAgent(database.knex);
  const kept = await startRunning(database.knex, agentId);
  const stopped = await startRunning(database.knex, agentId);
  const stop = commandOf(await change(database.knex, stopped, 'stop_session'));
  await markSent(database.knex, [stop]);
  const ending = { command_id: stop, status: 'completed' };

  await Promise.all(Array.from({ length: 8 }, () => finish(database.knex, [ending, ending])));

  expect(await readQueue(database.knex, agentId)).toMatchObject({ reserved_sessions: 1 });
  expect(await readSession(database.knex, kept)).toMatchObject({ holds_room: true });
  expect(await readSession(database.knex, stopped)).toMatchObject({
    state: 'terminated',
    holds_room: false,
  });
});

it.each(['failed', 'expired', 'cancelled'])(
  'gives room back when a start is %s',
  async (status) => {
    const agentId = await createAgent(database.knex, { maxSessions: 1 });
    const { sessionId, commandId } = await startAccepted(database.knex, agentId, {
      memoryBytes: 5,
    });

    await finish(database.knex, [{ command_id: commandId, status, error_code: status }]);

    expect(await readSession(database.knex, sessionId)).toMatchObject({
      state: 'failed',
      error_code: status,
      holds_room: false,
    });
    expect(await readQueue(database.knex, agentId)).toMatchObject({
      reserved_sessions: 0,
      reserved_memory_bytes: '0',
    });
  },
);

async function hibernate(agentId: string): Promise<string> {
  const sessionId = await startRunning(database.knex, agentId, { memoryBytes: 100 });
  const command = commandOf(await change(database.knex, sessionId, 'hibernate_session'));
  await markSent(database.knex, [command]);
  await finish(database.knex, [{ command_id: command, status: 'completed' }]);
  return sessionId;
}

describe('hibernated sessions', () => {
  it('give their room back and reserve it anew when they wake', async () => {
    const agentId = await createAgent(database.knex, { maxSessions: 1 });
    const sessionId = await hibernate(agentId);
    expect(await readSession(database.knex, sessionId)).toMatchObject({ state: 'hibernated' });
    expect(await readQueue(database.knex, agentId)).toMatchObject({ reserved_sessions: 0 });

    expect(await change(database.knex, sessionId, 'wake_session')).toMatchObject({
      kind: 'accepted',
      session: { state: 'waking', generation: 3, desired_state: 'running' },
    });

    expect(await readQueue(database.knex, agentId)).toMatchObject({
      reserved_sessions: 1,
      reserved_memory_bytes: '100',
    });
  });

  it('are told no_room when their agent is full, and nothing is written', async () => {
    const agentId = await createAgent(database.knex, { maxSessions: 1 });
    const sessionId = await hibernate(agentId);
    await startAccepted(database.knex, agentId);
    const before = await readQueue(database.knex, agentId);

    expect(await change(database.knex, sessionId, 'wake_session')).toMatchObject({
      kind: 'no_room',
      session: { state: 'hibernated', generation: 2 },
    });

    expect(await readQueue(database.knex, agentId)).toEqual(before);
  });

  it('do not overfill their agent when all wake at once', async () => {
    const agentId = await createAgent(database.knex, { maxSessions: 3 });
    const sessions: string[] = [];
    for (let n = 0; n < 8; n += 1) sessions.push(await hibernate(agentId));

    const answers = await Promise.all(
      sessions.map((id) => change(database.knex, id, 'wake_session')),
    );

    expect(answers.filter(({ kind }) => kind === 'accepted')).toHaveLength(3);
    expect(await readQueue(database.knex, agentId)).toMatchObject({ reserved_sessions: 3 });
  });

  it.each([
    ['failed', 'failed'],
    ['cancelled', 'hibernated'],
    ['expired', 'hibernated'],
  ])('whose wake is %s are %s and hold no room', async (status, state) => {
    const agentId = await createAgent(database.knex);
    const sessionId = await hibernate(agentId);
    const wake = commandOf(await change(database.knex, sessionId, 'wake_session'));

    await finish(database.knex, [{ command_id: wake, status }]);

    expect(await readSession(database.knex, sessionId)).toMatchObject({ state, holds_room: false });
    expect(await readQueue(database.knex, agentId)).toMatchObject({ reserved_sessions: 0 });
  });
});

describe('recounting', () => {
  it('puts right what is wrong, names that agent and touches no other', async () => {
    const wrong = await createAgent(database.knex);
    const right = await createAgent(database.knex);
    await startAccepted(database.knex, wrong, { memoryBytes: 7, cpuMillis: 3 });
    await startAccepted(database.knex, right);
    await database
      .knex('agent_queues')
      .where({ agent_id: wrong })
      .update({ reserved_sessions: 5, reserved_memory_bytes: 0 });

    const corrected = await queryRows(database.knex, 'select recount_room() as agent_id');

    expect(corrected).toEqual([{ agent_id: wrong }]);
    expect(await readQueue(database.knex, wrong)).toMatchObject({
      reserved_sessions: 1,
      reserved_memory_bytes: '7',
      reserved_cpu_millis: '3',
    });
    expect(await queryRows(database.knex, 'select recount_room()')).toEqual([]);
  });

  it('finds nothing wrong while sessions start and end beside it', async () => {
    const agentId = await createAgent(database.knex);
    const over = new AbortController();
    const corrections: unknown[] = [];
    const recounting = (async () => {
      while (!over.signal.aborted)
        corrections.push(...(await queryRows(database.knex, 'select recount_room()')));
    })();

    await Promise.all(
      Array.from({ length: 8 }, async () => {
        for (let n = 0; n < 15; n += 1) {
          const { commandId } = await startAccepted(database.knex, agentId, { memoryBytes: 9 });
          await finish(database.knex, [{ command_id: commandId, status: 'failed' }]);
        }
      }),
    );
    over.abort();
    await recounting;

    expect(corrections).toEqual([]);
    expect(await readQueue(database.knex, agentId)).toMatchObject({ reserved_sessions: 0 });
  });
});
