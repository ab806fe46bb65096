import {
  createTestDatabase,
  loadUpstreamDatabase,
  upstream,
  type TestDatabase,
} from '@streamspace/testkit';
import { connectForMigration, migrateToLatest, migrationNames, queryRows } from '../src/index.ts';

const TABLES = ['organizations', 'users', 'agents', 'agent_commands', 'sessions'] as const;

let database: TestDatabase;
let rowsBefore: Record<string, readonly string[]>;
let applied: readonly string[];

/** Each row's key, so that a row that was lost or made up shows by name. */
async function readKeys(): Promise<Record<string, readonly string[]>> {
  const keys: Record<string, readonly string[]> = {};
  for (const table of TABLES) keys[table] = await database.knex(table).orderBy('id').pluck('id');
  return keys;
}

interface MigratedCommand {
  readonly command_id: string;
  readonly session_id: string | null;
  readonly status: string;
  readonly seq: string | null;
  readonly attempt: number;
  readonly sent_epoch: string | null;
  readonly generation: string | null;
  readonly error_message: string | null;
  readonly created: string;
  readonly updated: string;
  readonly completed: string | null;
}

async function readCommands(): Promise<ReadonlyMap<string, MigratedCommand>> {
  const rows = await queryRows<MigratedCommand>(
    database.knex,
    `select command_id, session_id, status, seq, attempt, sent_epoch, generation, error_message,
       (created_at at time zone 'UTC')::text as created, (updated_at at time zone 'UTC')::text as updated,
       (completed_at at time zone 'UTC')::text as completed
     from agent_commands`,
  );
  return new Map(rows.map((row) => [row.command_id, row]));
}

beforeAll(async () => {
  database = await createTestDatabase({ isEmpty: true });
  // Neither a whole number of hours nor the same offset all year: nothing shifts by accident.
  await database.knex.raw(`alter database "${database.name}" set timezone = 'America/St_Johns'`);
  await loadUpstreamDatabase(database.knex);
  rowsBefore = await readKeys();
  const migrator = connectForMigration({ url: database.url, applicationName: 'migrator' });
  applied = await migrateToLatest(migrator);
  await migrator.destroy();
});

afterAll(() => database[Symbol.asyncDispose]());

it('runs every migration, keeps every row and makes up none', async () => {
  expect(applied).toEqual(migrationNames);
  expect(await readKeys()).toEqual(rowsBefore);
  expect(rowsBefore['agent_commands']).toHaveLength(upstream.pendingStops + 4);
});

it('adds updated_at, equal to created_at on every old row, and never null', async () => {
  const commands = await readCommands();
  for (const command of commands.values()) expect(command.updated).toBe(command.created);
  await expect(database.knex('agent_commands').update({ updated_at: null })).rejects.toMatchObject({
    code: '23502',
  });
});

it('invents nothing: what had no end, no error and no payload still has none', async () => {
  const commands = await readCommands();
  expect(commands.get(upstream.odd.failed)).toMatchObject({
    status: 'failed',
    completed: null,
    session_id: null,
    seq: null,
    attempt: 0,
    error_message: 'agent is not connected',
  });
  expect(commands.get(upstream.odd.completed)).toMatchObject({
    status: 'completed',
    seq: null,
    error_message: null,
    completed: '2025-07-01 07:03:09.123456',
  });
  const pending = [...commands.values()].filter((command) => command.status === 'pending');
  expect(pending).toHaveLength(upstream.pendingStops);
  for (const command of pending)
    expect(command).toMatchObject({ error_message: null, completed: null, attempt: 0 });
  const [expiring] = await queryRows<{ count: string }>(
    database.knex,
    'select count(*) from agent_commands where expires_at is not null or cancel_requested_at is not null',
  );
  expect(expiring?.count).toBe('0');
});

it('reads times as UTC, whatever zone the migrating connection is in', async () => {
  const commands = await readCommands();
  expect(commands.get('cmd-go-stop-001')?.created).toBe('2025-07-01 10:00:15.000001');
  const [instant] = await queryRows<{ epoch: string }>(
    database.knex,
    `select extract(epoch from s.created_at)::text as epoch from sessions s where id = '${upstream.stoppingSession(1)}'`,
  );
  expect(Number(instant?.epoch) * 1000).toBe(Date.UTC(2025, 6, 1, 8, 1));
  const withoutZone = await database
    .knex('information_schema.columns')
    .where({ table_schema: 'public', data_type: 'timestamp without time zone' })
    .whereIn('table_name', [...TABLES])
    .pluck('column_name');
  expect(withoutZone).toEqual([]);
});

it('gives a place in the queue to open commands only, by (created_at, id)', async () => {
  const open = await queryRows<{ command_id: string; seq: string; place: string }>(
    database.knex,
    `select command_id, seq, row_number() over (order by created_at, id) as place
     from agent_commands where agent_id = :agentId and seq is not null order by seq`,
    { agentId: upstream.agentId },
  );
  expect(open.map(({ seq }) => seq)).toEqual(open.map(({ place }) => place));
  expect(open[0]?.command_id).toBe(upstream.odd.acknowledgedStop);
  expect(open).toHaveLength(upstream.pendingStops + 1);
  expect(
    await database
      .knex('agent_queues')
      .orderBy('agent_id')
      .select('agent_id', 'next_seq', 'head_seq'),
  ).toEqual([
    { agent_id: upstream.agentId, next_seq: String(upstream.pendingStops + 2), head_seq: '0' },
    { agent_id: upstream.idleAgentId, next_seq: '2', head_seq: '0' },
  ]);
});

it('counts what had been claimed as claimed once, under an epoch before the first', async () => {
  const commands = await readCommands();
  expect(commands.get(upstream.odd.acknowledgedStop)).toMatchObject({
    status: 'acknowledged',
    attempt: 1,
    sent_epoch: '0',
  });
  expect(commands.get(upstream.odd.sentStart)).toMatchObject({
    status: 'sent',
    attempt: 1,
    sent_epoch: '0',
    session_id: 'never-was',
  });
});

it('finds the session that is named in the payload only', async () => {
  expect((await readCommands()).get(upstream.stopWithoutSessionId)?.session_id).toBe(
    upstream.stoppingSession(20),
  );
});

it('carries on the generation of a session from its open commands', async () => {
  const commands = await readCommands();
  const sessions = await database.knex('sessions').select('id', 'generation', 'state');
  const generations = new Map(sessions.map(({ id, generation }) => [id, generation]));
  for (let n = 1; n <= upstream.pendingStops; n += 1) {
    const stop = commands.get(`cmd-go-stop-${String(n).padStart(3, '0')}`);
    expect(stop?.generation).toBe('2');
    expect(generations.get(upstream.stoppingSession(n))).toBe('2');
  }
  expect(generations.get(upstream.stoppingSession(38))).toBe('1');
});

it('counts the room that is taken from the sessions, and limits by what can be read', async () => {
  const queue: unknown = await database
    .knex('agent_queues')
    .where({ agent_id: upstream.agentId })
    .first();
  expect(queue).toMatchObject({
    // "64 cores" is no quantity, so it does not limit.
    max_sessions: 60,
    capacity_cpu_millis: null,
    capacity_memory_bytes: String(128 * 1024 ** 3),
    // 37 terminating and 4 running; one of the running has no resources that can be read.
    reserved_sessions: 41,
    reserved_cpu_millis: String(40 * 500),
    reserved_memory_bytes: String(40 * 2 * 1024 ** 3),
    connection_epoch: '0',
    owner_boot_id: null,
  });
  expect(
    await database.knex('agent_queues').where({ agent_id: upstream.idleAgentId }).first(),
  ).toMatchObject({ max_sessions: null, capacity_cpu_millis: null, reserved_sessions: 0 });
  expect(await database.knex.raw('select recount_room()')).toMatchObject({ rowCount: 0 });
});

it('knows what each session is meant to be', async () => {
  const states = await queryRows<{ state: string; desired_state: string; count: string }>(
    database.knex,
    'select state, desired_state, count(*) from sessions group by 1, 2 order by 1',
  );
  expect(states).toEqual([
    { state: 'failed', desired_state: 'running', count: '1' },
    { state: 'hibernated', desired_state: 'hibernated', count: '1' },
    { state: 'pending', desired_state: 'running', count: '1' },
    { state: 'running', desired_state: 'running', count: '4' },
    { state: 'terminated', desired_state: 'terminated', count: '2' },
    { state: 'terminating', desired_state: 'terminated', count: '37' },
  ]);
});

it('keeps hashes of keys as they are, and none where there was none', async () => {
  expect(await database.knex('agents').orderBy('agent_id').pluck('api_key_hash')).toEqual([
    upstream.bcryptHash,
    null,
  ]);
});

it('drops the indexes that end heap-only updates, and the cascade that deletes commands', async () => {
  const indexes = await database
    .knex('pg_indexes')
    .where({ tablename: 'agent_commands' })
    .pluck<string[]>('indexdef');
  expect(
    indexes.filter((definition) => /status|attempt|epoch|updated_at/.test(definition)),
  ).toEqual([]);
  await expect(
    database.knex('agents').where({ agent_id: upstream.idleAgentId }).delete(),
  ).rejects.toMatchObject({ code: '23503' });
});
