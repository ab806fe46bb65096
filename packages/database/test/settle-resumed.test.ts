import { createTestDatabase, type TestDatabase } from '@streamspace/testkit';
import { callFunction } from '../src/index.ts';
import {
  begin,
  change,
  commandOf,
  createAgent,
  enqueue,
  finish,
  markSent,
  readCommand,
  startAccepted,
  startRunning,
  untilBlocked,
} from './queue-fixture.ts';
import type { Knex } from 'knex';

let database: TestDatabase;

beforeAll(async () => {
  database = await createTestDatabase();
});

afterAll(() => database[Symbol.asyncDispose]());

interface Settled {
  readonly kind: string;
  readonly endings?: readonly { command_id: string; status: string; error_code: string }[];
}

async function settle(
  db: Knex,
  agentId: string,
  more: Readonly<Record<string, unknown>>,
): Promise<Settled> {
  return (await callFunction(db, 'settle_resumed', {
    agentId,
    epoch: 2,
    held: [],
    unknown: [],
    alone: 0,
    journalChanged: false,
    ...more,
  })) as Settled;
}

/** An agent under epoch 2 that had been sent these under epoch 1. */
async function createResumed(count: number): Promise<{ agentId: string; ids: string[] }> {
  const agentId = await createAgent(database.knex);
  const { commands = [] } = await enqueue(database.knex, agentId, { count });
  const ids = commands.map((command) => String(command['command_id']));
  await markSent(database.knex, ids, 1);
  await takeOver(agentId);
  return { agentId, ids };
}

async function takeOver(agentId: string): Promise<void> {
  await database.knex('agent_queues').where({ agent_id: agentId }).update({ connection_epoch: 2 });
}

it('adopts what the agent holds under the new epoch, and puts back what it does not know', async () => {
  const { agentId, ids } = await createResumed(2);

  const settled = await settle(database.knex, agentId, { held: [ids[0]], unknown: [ids[1]] });

  expect(settled).toEqual({ kind: 'settled', endings: [] });
  expect(await readCommand(database.knex, ids[0]!)).toMatchObject({
    status: 'acknowledged',
    sent_epoch: '2',
    attempt: 1,
    acknowledged_at: expect.any(Date),
  });
  expect(await readCommand(database.knex, ids[1]!)).toMatchObject({
    status: 'pending',
    seq: '2',
    attempt: 1,
    solo_deliveries: 0,
  });
});

it('changes nothing under an epoch that is over', async () => {
  const { agentId, ids } = await createResumed(1);
  const before = await readCommand(database.knex, ids[0]!);

  expect(await settle(database.knex, agentId, { epoch: 1, unknown: ids })).toEqual({
    kind: 'fenced',
  });
  expect(await readCommand(database.knex, ids[0]!)).toEqual(before);
});

it('leaves what has ended, and what is another agent’s, as it is', async () => {
  const { agentId, ids } = await createResumed(1);
  const other = await createResumed(1);
  await finish(database.knex, [{ command_id: ids[0]!, status: 'completed' }]);

  await settle(database.knex, agentId, { held: [...ids, ...other.ids] });
  await settle(database.knex, agentId, { unknown: [...ids, ...other.ids] });

  expect(await readCommand(database.knex, ids[0]!)).toMatchObject({ status: 'completed' });
  expect(await readCommand(database.knex, other.ids[0]!)).toMatchObject({
    status: 'sent',
    sent_epoch: '1',
  });
});

// Property 32, R7.
it('ends a command at the fifth connection that broke while it alone was being delivered', async () => {
  const { agentId, ids } = await createResumed(1);
  for (let n = 1; n <= 4; n += 1) {
    expect(await settle(database.knex, agentId, { unknown: ids, alone: 1 })).toEqual({
      kind: 'settled',
      endings: [],
    });
    expect(await readCommand(database.knex, ids[0]!)).toMatchObject({
      status: 'pending',
      solo_deliveries: n,
    });
    await markSent(database.knex, ids, 2);
  }

  expect(await settle(database.knex, agentId, { unknown: ids, alone: 1 })).toMatchObject({
    endings: [{ command_id: ids[0], status: 'failed', error_code: 'delivery_exhausted' }],
  });
});

it('never counts a delivery in company, nor one that was acknowledged', async () => {
  const { agentId, ids } = await createResumed(1);
  for (let n = 0; n < 6; n += 1) {
    await settle(database.knex, agentId, { unknown: ids, alone: 0 });
    await markSent(database.knex, ids, 2);
  }
  await database
    .knex('agent_commands')
    .where({ command_id: ids[0] })
    .update({ status: 'acknowledged' });
  await settle(database.knex, agentId, { unknown: ids, alone: 1 });

  expect(await readCommand(database.knex, ids[0]!)).toMatchObject({
    status: 'pending',
    solo_deliveries: 0,
    attempt: 7,
  });
});

// Property 31.
it('does not send again what a lost journal had taken, unless a session’s generation guards it', async () => {
  const { agentId, ids } = await createResumed(2);
  const { commandId } = await startAccepted(database.knex, agentId);
  await markSent(database.knex, [commandId], 1);
  await database
    .knex('agent_commands')
    .whereIn('command_id', [ids[0]!, commandId])
    .update({ status: 'acknowledged' });

  const settled = await settle(database.knex, agentId, {
    unknown: [...ids, commandId],
    journalChanged: true,
  });

  expect(settled.endings).toMatchObject([
    { command_id: ids[0], status: 'failed', error_code: 'outcome_unknown' },
  ]);
  // It had never been acknowledged, so it had not run.
  expect(await readCommand(database.knex, ids[1]!)).toMatchObject({ status: 'pending' });
  expect(await readCommand(database.knex, commandId)).toMatchObject({ status: 'pending' });
});

it('ends what was to be cancelled and never got there', async () => {
  const agentId = await createAgent(database.knex);
  const sessionId = await startRunning(database.knex, agentId);
  const hibernate = commandOf(await change(database.knex, sessionId, 'hibernate_session'));
  await markSent(database.knex, [hibernate], 1);
  await change(database.knex, sessionId, 'stop_session');
  await takeOver(agentId);

  expect(await settle(database.knex, agentId, { unknown: [hibernate] })).toMatchObject({
    endings: [{ command_id: hibernate, status: 'cancelled', error_code: 'cancelled' }],
  });
});

// C8: what upstream had sent for a session that it then lost.
it('ends a start whose session does not exist', async () => {
  const { agentId, ids } = await createResumed(1);
  await database
    .knex('agent_commands')
    .where({ command_id: ids[0] })
    .update({ action: 'start_session', session_id: 'never-was' });

  expect(await settle(database.knex, agentId, { unknown: ids })).toMatchObject({
    endings: [{ command_id: ids[0], status: 'failed', error_code: 'session_unknown' }],
  });
});

// Rule 7: the replica that settles may vanish before it has stored the endings.
it('leaves what is to end unresolved until that is stored, so that nobody claims it in between', async () => {
  const { agentId, ids } = await createResumed(2);
  await database
    .knex('agent_commands')
    .where({ command_id: ids[0] })
    .update({ status: 'acknowledged' });
  const question = { unknown: ids, journalChanged: true };

  const first = await settle(database.knex, agentId, question);

  expect(await readCommand(database.knex, ids[0]!)).toMatchObject({
    status: 'acknowledged',
    sent_epoch: '1',
  });
  expect(first.endings).toHaveLength(1);
  expect(await settle(database.knex, agentId, question)).toEqual(first);
});

// Property 36, R3: one lock order.
it('locks its commands in order of seq, as results do', async () => {
  const { agentId, ids } = await createResumed(2);
  const [second, first] = ids as [string, string];
  await database.knex('agent_commands').where({ command_id: second }).update({ seq: 12 });
  await database.knex('agent_commands').where({ command_id: first }).update({ seq: 11 });
  await using results = await begin(database.knex);
  await results.trx.raw('select from agent_commands where command_id = ? for no key update', [
    first,
  ]);
  await using settling = await begin(database.knex);

  const settled = settle(settling.trx, agentId, { held: ids });
  await untilBlocked(database.knex, settling.pid);
  // It waits for the lower seq and holds nothing beyond it.
  await results.trx.raw(
    'select from agent_commands where command_id = ? for no key update nowait',
    [second],
  );
  await results.trx.commit();

  expect(await settled).toMatchObject({ kind: 'settled' });
  await settling.trx.commit();
});
