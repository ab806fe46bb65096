import { createTestDatabase, type TestDatabase } from '@streamspace/testkit';
import { queryRows } from '../src/index.ts';
import {
  begin,
  change,
  commandOf,
  createAgent,
  enqueue,
  markSent,
  readCommand,
  readQueue,
  readSession,
  start,
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

interface Deleted {
  readonly kind: string;
  readonly count?: number;
  readonly sessions?: readonly { id: string; state: string }[];
  readonly commands?: readonly { command_id: string; status: string }[];
}

async function deleteAgent(db: Knex, agentId: string, isForced: boolean): Promise<Deleted> {
  const [row] = await queryRows<{ answer: Deleted }>(
    db,
    'select delete_agent(:agentId, :isForced) as answer',
    { agentId, isForced },
  );
  return row!.answer;
}

it('is refused while the agent has sessions, and changes nothing', async () => {
  const agentId = await createAgent(database.knex);
  await startRunning(database.knex, agentId);
  const before = await readQueue(database.knex, agentId);

  expect(await deleteAgent(database.knex, agentId, false)).toEqual({
    kind: 'has_sessions',
    count: 1,
  });
  expect(await readQueue(database.knex, agentId)).toEqual(before);
});

it('by force ends every command and session of it, each with its own reason, and gives the room back', async () => {
  const agentId = await createAgent(database.knex, { ownerBootId: 'boot-1' });
  const running = await startRunning(database.knex, agentId, { memoryBytes: 10 });
  const sent = await startAccepted(database.knex, agentId);
  await markSent(database.knex, [sent.commandId]);
  const waiting = await startAccepted(database.knex, agentId);
  const stopping = await startRunning(database.knex, agentId);
  const stop = commandOf(await change(database.knex, stopping, 'stop_session'));

  const deleted = await deleteAgent(database.knex, agentId, true);

  expect(deleted.kind).toBe('deleted');
  expect(deleted.sessions).toHaveLength(4);
  expect(deleted.commands?.map((command) => command.command_id).toSorted()).toEqual(
    [sent.commandId, waiting.commandId, stop].toSorted(),
  );
  expect(await readCommand(database.knex, sent.commandId)).toMatchObject({
    status: 'failed',
    error_code: 'outcome_unknown',
  });
  expect(await readCommand(database.knex, waiting.commandId)).toMatchObject({
    status: 'cancelled',
    error_code: 'agent_deleted',
  });
  for (const id of [running, sent.sessionId, waiting.sessionId])
    expect(await readSession(database.knex, id)).toMatchObject({
      state: 'failed',
      error_code: 'agent_deleted',
      holds_room: false,
    });
  expect(await readSession(database.knex, stopping)).toMatchObject({ state: 'terminated' });
  expect(await readQueue(database.knex, agentId)).toMatchObject({
    reserved_sessions: 0,
    reserved_memory_bytes: '0',
    owner_boot_id: null,
    deleted_at: expect.any(Date),
  });
});

it('lets nothing in afterwards', async () => {
  const agentId = await createAgent(database.knex);
  const { connection_epoch: epoch } = await readQueue(database.knex, agentId);
  expect(await deleteAgent(database.knex, agentId, false)).toMatchObject({ kind: 'deleted' });

  expect(await start(database.knex, agentId)).toEqual({ kind: 'no_room' });
  expect(await enqueue(database.knex, agentId)).toEqual({ kind: 'not_found' });
  expect(await deleteAgent(database.knex, agentId, true)).toEqual({ kind: 'not_found' });
  // Whoever holds its connection is fenced.
  expect((await readQueue(database.knex, agentId))['connection_epoch']).toBe(
    String(Number(epoch) + 1),
  );
});

it('waits for a start in flight and ends it, too', async () => {
  const agentId = await createAgent(database.knex);
  await using starting = await begin(database.knex);
  const { sessionId, commandId } = await startAccepted(starting.trx, agentId);
  await using deleting = await begin(database.knex);

  const deleted = deleteAgent(deleting.trx, agentId, true);
  await untilBlocked(database.knex, deleting.pid);
  await starting.trx.commit();
  expect(await deleted).toMatchObject({ kind: 'deleted', sessions: [{ id: sessionId }] });
  await deleting.trx.commit();

  expect(await readCommand(database.knex, commandId)).toMatchObject({ status: 'cancelled' });
});
