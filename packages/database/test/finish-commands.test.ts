import { createTestDatabase, type TestDatabase } from '@streamspace/testkit';
import {
  begin,
  change,
  commandOf,
  createAgent,
  enqueue,
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

async function enqueueIds(agentId: string, count: number): Promise<string[]> {
  const { commands = [] } = await enqueue(database.knex, agentId, { count });
  return commands.map((command) => String(command['command_id']));
}

// Properties 9 and 11.
it('takes a result of any attempt, from any open status, once', async () => {
  const agentId = await createAgent(database.knex);
  const [pending, sent, acknowledged] = (await enqueueIds(agentId, 3)) as [string, string, string];
  await markSent(database.knex, [sent, acknowledged]);
  await markSent(database.knex, [acknowledged], 2);
  await database
    .knex('agent_commands')
    .where({ command_id: acknowledged })
    .update({ status: 'acknowledged' });
  const entries = [pending, sent, acknowledged].map((command_id) => ({
    command_id,
    agent_id: agentId,
    status: 'completed',
    result: { of: command_id },
  }));

  const { commands } = await finish(database.knex, entries);
  const again = await finish(
    database.knex,
    entries.map((entry) => ({ ...entry, status: 'failed' })),
  );

  expect(commands).toHaveLength(3);
  expect(again).toMatchObject({ commands: [], sessions: [] });
  for (const command_id of [pending, sent, acknowledged])
    expect(await readCommand(database.knex, command_id)).toMatchObject({
      status: 'completed',
      result: { of: command_id },
    });
});

it('takes the first of several endings of a command in one batch', async () => {
  const agentId = await createAgent(database.knex);
  const ids = await enqueueIds(agentId, 200);
  const endings = (status: string): { command_id: string; status: string }[] =>
    ids.map((command_id) => ({ command_id, status }));

  await finish(database.knex, [...endings('completed'), ...endings('failed')]);

  expect(
    await database.knex('agent_commands').where({ agent_id: agentId, status: 'failed' }),
  ).toEqual([]);
});

it('takes the word of the agent whose command it is, whoever spoke before it in one batch', async () => {
  const agentId = await createAgent(database.knex);
  const [id, other] = (await enqueueIds(agentId, 2)) as [string, string];

  await finish(database.knex, [
    { command_id: id, agent_id: 'thief', status: 'failed' },
    { command_id: id, agent_id: agentId, status: 'completed' },
    { command_id: id, status: 'expired' },
    { command_id: other, agent_id: 'thief', status: 'completed' },
  ]);

  expect(await readCommand(database.knex, id)).toMatchObject({ status: 'completed' });
  expect(await readCommand(database.knex, other)).toMatchObject({ status: 'pending' });
});

it('moves updated_at and sets completed_at, whatever the ending', async () => {
  const agentId = await createAgent(database.knex);
  const ids = await enqueueIds(agentId, 4);
  await database.knex.raw(
    `update agent_commands set updated_at = now() - interval '1 hour' where agent_id = ?`,
    [agentId],
  );

  await finish(
    database.knex,
    ['completed', 'failed', 'expired', 'cancelled'].map((status, n) => ({
      command_id: ids[n]!,
      status,
    })),
  );

  for (const id of ids) {
    const command = await readCommand(database.knex, id);
    expect(command['completed_at']).toEqual(command['updated_at']);
    expect(Date.now() - Number(command['updated_at'])).toBeLessThan(60_000);
  }
});

it('ends what was never claimed only, where it is asked to', async () => {
  const agentId = await createAgent(database.knex);
  const [unsent, sent] = (await enqueueIds(agentId, 2)) as [string, string];
  await markSent(database.knex, [sent]);

  const { commands } = await finish(
    database.knex,
    [unsent, sent].map((command_id) => ({ command_id, status: 'expired' })),
    true,
  );

  expect(commands).toMatchObject([{ command_id: unsent }]);
  expect(await readCommand(database.knex, sent)).toMatchObject({ status: 'sent' });
});

// Property 20, R2: between a claim's update and its commit.
it('does not expire what a claim in flight has taken', async () => {
  const agentId = await createAgent(database.knex);
  const [id] = (await enqueueIds(agentId, 1)) as [string];
  await using claim = await begin(database.knex);
  await markSent(claim.trx, [id]);
  await using expiry = await begin(database.knex);

  const finished = finish(expiry.trx, [{ command_id: id, status: 'expired' }], true);
  await untilBlocked(database.knex, expiry.pid);
  await claim.trx.commit();

  expect((await finished).commands).toEqual([]);
  await expiry.trx.commit();
  expect(await readCommand(database.knex, id)).toMatchObject({ status: 'sent', attempt: 1 });
});

it('does not touch what has no place in the queue', async () => {
  const agentId = await createAgent(database.knex);
  const [id] = (await enqueueIds(agentId, 1)) as [string];
  // As upstream leaves a command that has ended without an end.
  await database
    .knex('agent_commands')
    .where({ command_id: id })
    .update({ seq: null, status: 'failed' });

  expect((await finish(database.knex, [{ command_id: id, status: 'completed' }])).commands).toEqual(
    [],
  );
  expect(await readCommand(database.knex, id)).toMatchObject({
    status: 'failed',
    completed_at: null,
  });
});

it('a stop that failed leaves its session stopping, and holds its room', async () => {
  const agentId = await createAgent(database.knex);
  const sessionId = await startRunning(database.knex, agentId);
  const stop = commandOf(await change(database.knex, sessionId, 'stop_session'));
  await markSent(database.knex, [stop]);

  await finish(database.knex, [
    { command_id: stop, status: 'failed', error_code: 'outcome_unknown' },
  ]);

  expect(await readSession(database.knex, sessionId)).toMatchObject({
    state: 'terminating',
    error_code: 'outcome_unknown',
    holds_room: true,
  });
});

// K8, R3, property 36.
it('locks what a stop overtakes before the stop itself, in order of seq, as acks do', async () => {
  const agentId = await createAgent(database.knex);
  const { sessionId, commandId } = await startAccepted(database.knex, agentId);
  await markSent(database.knex, [commandId]);
  const stop = commandOf(await change(database.knex, sessionId, 'stop_session'));
  await markSent(database.knex, [stop]);
  // An ack batch holds the start and is about to take the stop.
  await using acks = await begin(database.knex);
  await acks.trx.raw('select from agent_commands where command_id = ? for no key update', [
    commandId,
  ]);
  await using results = await begin(database.knex);

  const finished = finish(results.trx, [{ command_id: stop, status: 'completed' }]);
  await untilBlocked(database.knex, results.pid);
  await acks.trx.raw('select from agent_commands where command_id = ? for no key update nowait', [
    stop,
  ]);
  await acks.trx.commit();

  expect((await finished).commands).toHaveLength(2);
  await results.trx.commit();
});

it('a batch over many agents ends each command once, whatever else ends them at the same time', async () => {
  const agents = await Promise.all(Array.from({ length: 4 }, () => createAgent(database.knex)));
  const sessions = await Promise.all(
    Array.from({ length: 24 }, (_, n) => startAccepted(database.knex, agents[n % 4]!)),
  );
  const endings = sessions.map(({ commandId }) => ({ command_id: commandId, status: 'failed' }));
  const shuffled = (): typeof endings =>
    endings
      .map((ending) => ({ ending, at: Math.random() }))
      .toSorted((a, b) => a.at - b.at)
      .map(({ ending }) => ending);

  const finished = await Promise.all(
    Array.from({ length: 8 }, () => finish(database.knex, shuffled())),
  );

  expect(finished.flatMap(({ commands }) => commands)).toHaveLength(24);
  for (const agentId of agents)
    expect(await readQueue(database.knex, agentId)).toMatchObject({ reserved_sessions: 0 });
});
