import type { LiveEvent } from '@streamspace/protocol';
import { createTestDatabase, type TestDatabase } from '@streamspace/testkit';
import { pino } from 'pino';
import { GlobalSweep, type CommandQueue, type GlobalSweepOptions } from '../src/index.ts';
import { createTestAgent, createTestUser, readCommands } from './test-node.ts';
import { createTestQueue, mintEpoch, silence } from './test-queue.ts';
import { pings, readSessionState, startTestSession } from './two-nodes.ts';

let database: TestDatabase;
let queue: CommandQueue;

beforeAll(async () => {
  database = await createTestDatabase();
  queue = createTestQueue(database.knex);
  await createTestUser(database.knex, 'ada');
});

afterAll(() => database[Symbol.asyncDispose]());

/** Each sweep is another replica's, so each does the slow steps, too. */
function createSweep(options: Partial<GlobalSweepOptions> = {}): GlobalSweep {
  return new GlobalSweep({
    db: database.knex,
    queue,
    doorbell: silence,
    events: silence,
    agentLostAfterMs: 86_400_000,
    onKeysExpired: () => undefined,
    onRun: () => undefined,
    logger: pino({ level: 'silent' }),
    ...options,
  });
}

async function enqueue(agentId: string, count: number): Promise<void> {
  await createTestAgent(database.knex, agentId);
  await queue.enqueueAgentCommands({ agentId, action: 'ping', payloads: pings(count) });
}

/** Its agent took what is not a ping, and the first; then it went away. */
async function leave(agentId: string, hours: number): Promise<void> {
  await mintEpoch(database.knex, agentId);
  await database.knex.raw(
    `update agent_commands set attempt = 1, status = 'acknowledged', sent_epoch = 1
     where agent_id = ? and (seq = 1 or action <> 'ping')`,
    [agentId],
  );
  await database.knex.raw(
    `update agent_queues set owner_boot_id = null, disconnected_at = now() - ? * interval '1 hour'
     where agent_id = ?`,
    [hours, agentId],
  );
}

/** Stopping for so long, and nothing open. */
async function strand(sessionId: string, seconds: number): Promise<void> {
  await createTestAgent(database.knex, `of-${sessionId}`);
  await startTestSession({ queue }, `of-${sessionId}`, sessionId);
  await database.knex.raw(
    `update agent_commands set status = 'completed', attempt = 1, completed_at = now() where session_id = ?`,
    [sessionId],
  );
  await database.knex.raw(
    `update sessions set state = 'terminating', updated_at = now() - ? * interval '1 second' where id = ?`,
    [seconds, sessionId],
  );
}

describe('commands of an agent that does not come back', () => {
  it('end as outcome_unknown once claimed, and stay queued when never sent', async () => {
    await enqueue('lost', 2);
    await leave('lost', 25);
    await createSweep().run();
    expect(await readCommands(database.knex, 'lost')).toMatchObject([
      { status: 'failed', error_code: 'outcome_unknown' },
      { status: 'pending', error_code: null },
    ]);
  });

  it('are left alone while it may still come back, or is there', async () => {
    await enqueue('away-a-while', 1);
    await leave('away-a-while', 23);
    await enqueue('there', 1);
    await leave('there', 25);
    await database.knex('agent_queues').where({ agent_id: 'there' }).update({ owner_boot_id: 'b' });

    await createSweep().run();

    for (const agentId of ['away-a-while', 'there'])
      expect(await readCommands(database.knex, agentId)).toMatchObject([
        { status: 'acknowledged' },
      ]);
  });

  it('fail their session, whose room is given back', async () => {
    await createTestAgent(database.knex, 'lost-with-session', { maxSessions: 1 });
    await startTestSession({ queue }, 'lost-with-session', 'ses-lost');
    await leave('lost-with-session', 25);

    await createSweep().run();

    expect(await readSessionState(database.knex, 'ses-lost')).toEqual({
      state: 'failed',
      error_code: 'outcome_unknown',
    });
    await startTestSession({ queue }, 'lost-with-session', 'ses-lost-2');
  });

  // Property 18.
  it('expire when never sent, with a reason, and fail the session that waited', async () => {
    await createTestAgent(database.knex, 'never-there');
    const shortLived = createTestQueue(database.knex, { expiresInMs: -1 });
    await startTestSession({ queue: shortLived }, 'never-there', 'ses-expired');

    await createSweep().run();

    expect(await readCommands(database.knex, 'never-there')).toMatchObject([
      { status: 'expired', error_code: 'expired', error_message: expect.stringContaining('agent') },
    ]);
    expect(await readSessionState(database.knex, 'ses-expired')).toEqual({
      state: 'failed',
      error_code: 'expired',
    });
  });
});

describe('a session that is stopping with no command that would stop it', () => {
  it('is stopped, once, by however many replicas', async () => {
    await strand('ses-stranded', 31);

    await Promise.all(Array.from({ length: 4 }, () => createSweep().run()));
    await createSweep().run();

    expect(await readCommands(database.knex, 'of-ses-stranded')).toMatchObject([
      { action: 'start_session' },
      { action: 'stop_session', status: 'pending' },
    ]);
  });

  it('is given half a minute to be what it looks like', async () => {
    await strand('ses-fresh', 20);
    await createSweep().run();
    expect(await readCommands(database.knex, 'of-ses-fresh')).toHaveLength(1);
  });
});

it('counts room anew where it is wrong', async () => {
  await createTestAgent(database.knex, 'miscounted');
  await database
    .knex('agent_queues')
    .where({ agent_id: 'miscounted' })
    .update({ reserved_sessions: 9 });
  await createSweep().run();
  expect(
    await database
      .knex('agent_queues')
      .where({ agent_id: 'miscounted' })
      .first('reserved_sessions'),
  ).toEqual({ reserved_sessions: 0 });
});

it('releases the agents of a replica that died, says that a gap is possible, and does so once', async () => {
  await createTestAgent(database.knex, 'orphaned');
  await mintEpoch(database.knex, 'orphaned', 'dead');
  await createTestAgent(database.knex, 'kept');
  await mintEpoch(database.knex, 'kept', 'alive');
  await database.knex.raw(
    `insert into replicas (boot_id, name, version, beat_at) values
     ('dead', 'dead', '0', now() - interval '61 seconds'), ('alive', 'alive', '0', now() - interval '59 seconds')`,
  );
  let gaps = 0;
  const events = { ...silence, markGap: () => void (gaps += 1) };

  await Promise.all(Array.from({ length: 4 }, () => createSweep({ events }).run()));

  expect(gaps).toBe(1);
  const owners = await database
    .knex('agent_queues')
    .whereIn('agent_id', ['kept', 'orphaned'])
    .orderBy('agent_id')
    .select('agent_id', 'owner_boot_id');
  expect(owners).toEqual([
    { agent_id: 'kept', owner_boot_id: 'alive' },
    { agent_id: 'orphaned', owner_boot_id: null },
  ]);
  expect(await database.knex('replicas').pluck('boot_id')).toEqual(['alive']);
});

it('ends keys whose grace is over, and says which', async () => {
  await createTestAgent(database.knex, 'rotated');
  await database.knex.raw(
    `insert into agent_keys (key_id, agent_id, key_hash, expires_at) values
     ('key_over', 'rotated', 'h1', now() - interval '1 second'), ('key_grace', 'rotated', 'h2', now() + interval '1 hour')`,
  );
  const ended: string[] = [];
  await createSweep({ onKeysExpired: (ids) => void ended.push(...ids) }).run();
  expect(ended).toEqual(['key_over']);
});

// Property 39, in small.
it('deletes what is past its retention, and nothing that is open or young', async () => {
  await enqueue('retained', 5);
  await database.knex.raw(
    `update agent_commands set created_at = now() - interval '8 days', updated_at = now() - interval '8 days',
       status = case when seq in (1, 2, 4) then 'completed' when seq = 5 then 'failed' else status end,
       completed_at = case seq when 1 then now() - interval '8 days' when 2 then now() - interval '6 days' end,
       seq = case when seq <> 5 then seq end
     where agent_id = 'retained' and seq <> 4`,
  );
  await database.knex.raw(
    `update agent_commands set status = 'completed', completed_at = now() where agent_id = 'retained' and seq = 4`,
  );
  const path = '/retention';
  await database.knex.raw(
    `insert into idempotency_keys (principal, method, path, key, request_hash, status, answer, created_at) values
     ('ada', 'POST', '${path}', 'old', 'h', 202, '{}', now() - interval '1 day' - interval '1 hour'),
     ('ada', 'POST', '${path}', 'new', 'h', 202, '{}', now() - interval '1 hour')`,
  );
  await database.knex.raw(
    `insert into sessions (id, user_id, state, desired_state, created_at, updated_at, ended_at) values
     ('ses-old', 'ada', 'terminated', 'terminated', now() - interval '40 days', now(), now() - interval '31 days'),
     ('ses-young', 'ada', 'terminated', 'terminated', now() - interval '40 days', now(), now() - interval '29 days'),
     ('ses-running', 'ada', 'running', 'running', now() - interval '40 days', now() - interval '40 days', null)`,
  );

  await createSweep().run();
  // A database that was taken over today brings its history with it.
  expect(await readCommands(database.knex, 'retained')).toHaveLength(5);
  expect(await database.knex('sessions').where({ id: 'ses-old' })).toHaveLength(1);

  await database
    .knex('installation')
    .update({ created_at: database.knex.raw(`now() - interval '31 days'`) });
  await createSweep().run();

  // 1 had ended long ago; 5 is upstream's kind of ended, without an end or a place.
  expect(
    (await readCommands(database.knex, 'retained')).map(({ seq, status }) => [seq, status]),
  ).toEqual([
    ['2', 'completed'],
    ['3', 'pending'],
    ['4', 'completed'],
  ]);
  expect(await database.knex('idempotency_keys').where({ path }).pluck('key')).toEqual(['new']);
  expect(
    await database
      .knex('sessions')
      .whereIn('id', ['ses-old', 'ses-young', 'ses-running'])
      .orderBy('id')
      .pluck('id'),
  ).toEqual(['ses-running', 'ses-young']);
});

it('says once that a lost agent is offline', async () => {
  await createTestAgent(database.knex, 'going');
  await mintEpoch(database.knex, 'going');
  await database
    .knex('agent_queues')
    .where({ agent_id: 'going' })
    .update({
      owner_boot_id: null,
      disconnected_at: database.knex.raw(`now() - interval '61 seconds'`),
    });
  const published: LiveEvent[] = [];
  const events = {
    publish: (some: readonly LiveEvent[]) => void published.push(...some),
    markGap: () => undefined,
  };

  await createSweep({ events }).run();
  await createSweep({ events }).run();

  expect(
    published.filter((event) => event.type === 'agent' && event.agent.agentId === 'going'),
  ).toEqual([
    {
      type: 'agent',
      userId: null,
      agent: { agentId: 'going', state: 'offline', connectionEpoch: 1, replica: null },
    },
  ]);
});
