import { createTestDatabase, type TestDatabase } from '@streamspace/testkit';
import {
  begin,
  change,
  commandOf,
  createAgent,
  finish,
  markSent,
  readCommand,
  readQueue,
  readSession,
  startAccepted,
  startRunning,
  untilBlocked,
} from './queue-fixture.ts';

let database: TestDatabase;

beforeAll(async () => {
  database = await createTestDatabase();
});

afterAll(() => database[Symbol.asyncDispose]());

it.each(['hibernate_session', 'wake_session'])(
  'a stop ends a %s that was never sent, as superseded',
  async (action) => {
    const agentId = await createAgent(database.knex);
    const sessionId = await startRunning(database.knex, agentId);
    if (action === 'wake_session') {
      const hibernate = commandOf(await change(database.knex, sessionId, 'hibernate_session'));
      await finish(database.knex, [{ command_id: hibernate, status: 'completed' }]);
    }
    const superseded = commandOf(await change(database.knex, sessionId, action));

    const stop = await change(database.knex, sessionId, 'stop_session');

    expect(await readCommand(database.knex, superseded)).toMatchObject({
      status: 'cancelled',
      error_code: 'superseded',
      completed_at: expect.any(Date),
    });
    expect(stop).toMatchObject({ kind: 'accepted', session: { state: 'terminating' } });
    await markSent(database.knex, [commandOf(stop)]);
    await finish(database.knex, [{ command_id: commandOf(stop), status: 'completed' }]);
    expect(await readSession(database.knex, sessionId)).toMatchObject({
      state: 'terminated',
      holds_room: false,
    });
    expect(await readQueue(database.knex, agentId)).toMatchObject({ reserved_sessions: 0 });
  },
);

it.each(['hibernate_session', 'wake_session'])(
  'a stop asks for the cancellation of a %s that was sent, and ends it at the latest with itself',
  async (action) => {
    const agentId = await createAgent(database.knex);
    const sessionId = await startRunning(database.knex, agentId);
    if (action === 'wake_session') {
      const hibernate = commandOf(await change(database.knex, sessionId, 'hibernate_session'));
      await finish(database.knex, [{ command_id: hibernate, status: 'completed' }]);
    }
    const sent = commandOf(await change(database.knex, sessionId, action));
    await markSent(database.knex, [sent]);

    const stop = commandOf(await change(database.knex, sessionId, 'stop_session'));
    expect(await readCommand(database.knex, sent)).toMatchObject({
      status: 'sent',
      completed_at: null,
      error_code: null,
      cancel_requested_at: expect.any(Date),
    });
    await markSent(database.knex, [stop]);
    const { commands } = await finish(database.knex, [{ command_id: stop, status: 'completed' }]);

    expect(commands.map((command) => command.command_id).toSorted()).toEqual(
      [sent, stop].toSorted(),
    );
    expect(await readCommand(database.knex, sent)).toMatchObject({
      status: 'cancelled',
      error_code: 'superseded',
    });
    expect(await readQueue(database.knex, agentId)).toMatchObject({ reserved_sessions: 0 });
  },
);

it('what was overtaken may still be answered, and its late success does not resurrect the session', async () => {
  const agentId = await createAgent(database.knex);
  const { sessionId, commandId } = await startAccepted(database.knex, agentId);
  await markSent(database.knex, [commandId]);
  const stop = commandOf(await change(database.knex, sessionId, 'stop_session'));

  await finish(database.knex, [{ command_id: commandId, status: 'completed' }]);
  expect(await readSession(database.knex, sessionId)).toMatchObject({ state: 'terminating' });
  await finish(database.knex, [{ command_id: stop, status: 'completed' }]);

  expect(await readCommand(database.knex, commandId)).toMatchObject({ status: 'completed' });
  expect(await readSession(database.knex, sessionId)).toMatchObject({ state: 'terminated' });
});

it('a second stop gets the first one’s command while that is open, and nothing to do afterwards', async () => {
  const agentId = await createAgent(database.knex);
  const sessionId = await startRunning(database.knex, agentId);

  const stops = await Promise.all(
    Array.from({ length: 8 }, () => change(database.knex, sessionId, 'stop_session')),
  );
  const [stop] = [...new Set(stops.map(commandOf))];

  expect(new Set(stops.map(commandOf)).size).toBe(1);
  await finish(database.knex, [{ command_id: stop!, status: 'completed' }]);
  expect(await change(database.knex, sessionId, 'stop_session')).toMatchObject({
    kind: 'nothing_to_do',
  });
});

it('does one thing at a time for a session: busy while a command of it is open', async () => {
  const agentId = await createAgent(database.knex);
  const sessionId = await startRunning(database.knex, agentId);

  const answers = await Promise.all(
    Array.from({ length: 8 }, () => change(database.knex, sessionId, 'hibernate_session')),
  );

  expect(answers.filter(({ kind }) => kind === 'accepted')).toHaveLength(1);
  expect(answers.filter(({ kind }) => kind === 'busy')).toHaveLength(7);
  expect(await readSession(database.knex, sessionId)).toMatchObject({ generation: '2' });
});

// Rule 5, R2: never sent is what attempt says, and a claim in flight is about to say otherwise.
it('a stop does not take a start for unsent whose claim is about to commit', async () => {
  const agentId = await createAgent(database.knex);
  const { sessionId, commandId } = await startAccepted(database.knex, agentId);
  await using claim = await begin(database.knex);
  await markSent(claim.trx, [commandId]);
  await using stopping = await begin(database.knex);

  const answer = change(stopping.trx, sessionId, 'stop_session');
  await untilBlocked(database.knex, stopping.pid);
  await claim.trx.commit();
  const stop = await answer;
  await stopping.trx.commit();

  expect(stop).toMatchObject({ kind: 'accepted', session: { state: 'terminating' } });
  expect(await readCommand(database.knex, commandOf(stop))).toMatchObject({ status: 'pending' });
  expect(await readCommand(database.knex, commandId)).toMatchObject({
    status: 'sent',
    cancel_requested_at: expect.any(Date),
  });
  expect(await readQueue(database.knex, agentId)).toMatchObject({ reserved_sessions: 1 });
});

it('the control plane repairs what has ended: stops it again, or starts it anew', async () => {
  const agentId = await createAgent(database.knex);
  const { sessionId } = await startAccepted(database.knex, agentId);
  await change(database.knex, sessionId, 'stop_session');
  expect(await readSession(database.knex, sessionId)).toMatchObject({ state: 'terminated' });

  expect(await change(database.knex, sessionId, 'stop_session', { repair: true })).toMatchObject({
    kind: 'accepted',
    session: { state: 'terminated', generation: 3 },
  });

  const running = await startRunning(database.knex, agentId);
  expect(await change(database.knex, running, 'start_session')).toMatchObject({
    kind: 'wrong_state',
  });
  expect(await change(database.knex, running, 'start_session', { repair: true })).toMatchObject({
    kind: 'accepted',
    session: { state: 'starting', generation: 2 },
  });
});

it('a stop of a session whose agent is gone ends at once', async () => {
  const agentId = await createAgent(database.knex);
  const sessionId = await startRunning(database.knex, agentId);
  await database
    .knex('agent_queues')
    .where({ agent_id: agentId })
    .update({ deleted_at: new Date() });

  expect(await change(database.knex, sessionId, 'stop_session')).toMatchObject({
    kind: 'accepted',
    session: { state: 'terminated' },
    command: { status: 'completed' },
    ownerBootId: null,
  });
  expect(await change(database.knex, 'ses-of-nobody', 'stop_session')).toEqual({
    kind: 'not_found',
  });
});
