import type { LiveEvent } from '@streamspace/protocol';
import { createTestDatabase, type TestDatabase } from '@streamspace/testkit';
import { pino } from 'pino';
import type { CommandQueue } from '../src/index.ts';
import { ResultRecorder } from '../src/result-recorder.ts';
import { createTestAgent, createTestUser, readCommands } from './test-node.ts';
import { begin, createTestQueue, silence } from './test-queue.ts';
import { pings, readSessionState, startTestSession } from './two-nodes.ts';

let database: TestDatabase;
let queue: CommandQueue;
let recorder: ResultRecorder;
const events: LiveEvent[] = [];

beforeAll(async () => {
  database = await createTestDatabase();
  queue = createTestQueue(database.knex);
  recorder = new ResultRecorder({
    db: database.knex,
    doorbell: silence,
    events: { publish: (some) => void events.push(...some) },
    counters: { ended: () => undefined },
    logger: pino({ level: 'silent' }),
  });
  await createTestUser(database.knex, 'ada');
});

afterAll(() => database[Symbol.asyncDispose]());

async function enqueueIds(agentId: string, count: number): Promise<string[]> {
  await createTestAgent(database.knex, agentId);
  await queue.enqueueAgentCommands({ agentId, action: 'ping', payloads: pings(count) });
  return (await readCommands(database.knex, agentId)).map((command) => command.command_id);
}

// K12, R12.
it('one result that cannot be stored ends its own command and harms none of the batch', async () => {
  const ids = await enqueueIds('poisoned', 60);
  const poison = new Map<string, unknown>([
    [ids[7]!, { text: 'a\u0000b' }],
    [ids[31]!, { text: '\ud800' }],
    [ids[59]!, { ['\u0000']: 1 }],
  ]);

  await Promise.all(
    ids.map((commandId) =>
      recorder.record({
        commandId,
        agentId: 'poisoned',
        outcome: { status: 'completed', result: poison.get(commandId) ?? { ok: commandId } },
      }),
    ),
  );

  for (const command of await readCommands(database.knex, 'poisoned'))
    expect(command).toMatchObject(
      poison.has(command.command_id)
        ? { status: 'failed', error_code: 'result_unreadable', result: null }
        : { status: 'completed', error_code: null, result: { ok: command.command_id } },
    );
});

it('an endpoint that is none fails the start that claims it, and only that', async () => {
  await createTestAgent(database.knex, 'endpoints', { maxSessions: 2 });
  const good = await startTestSession({ queue }, 'endpoints', 'ses-good');
  const bad = await startTestSession({ queue }, 'endpoints', 'ses-bad');

  await Promise.all(
    [
      { commandId: good, endpoint: { host: '127.0.0.1', port: 80 } },
      { commandId: bad, endpoint: { host: '127.0.0.1', port: 'eighty' } },
    ].map(({ commandId, endpoint }) =>
      recorder.record({
        commandId,
        outcome: { status: 'completed', result: { endpoint } },
      }),
    ),
  );

  expect(await readSessionState(database.knex, 'ses-good')).toEqual({
    state: 'running',
    error_code: null,
  });
  expect(await readSessionState(database.knex, 'ses-bad')).toEqual({
    state: 'failed',
    error_code: 'result_unreadable',
  });
});

it('a result whose row is held elsewhere is to come again; the others of its batch are stored', async () => {
  const ids = await enqueueIds('held-up', 4);
  await using holder = await begin(database.knex);
  await holder.trx.raw('select from agent_commands where command_id = ? for update', [ids[0]!]);
  // A frozen replica is cut off after 2 s; this one is not frozen.
  await holder.trx.raw('set local idle_in_transaction_session_timeout = 0');

  const outcomes = await Promise.allSettled(
    ids.map((commandId) => recorder.record({ commandId, outcome: { status: 'completed' } })),
  );
  await holder.trx.rollback();

  expect(outcomes.map(({ status }) => status)).toEqual([
    'rejected',
    'fulfilled',
    'fulfilled',
    'fulfilled',
  ]);
  await recorder.record({ commandId: ids[0]!, outcome: { status: 'completed' } });
  expect((await readCommands(database.knex, 'held-up')).map(({ status }) => status)).toEqual(
    ids.map(() => 'completed'),
  );
});

it('says of each ending once, though it is reported three times', async () => {
  const [commandId] = (await enqueueIds('repeated', 1)) as [string];
  events.length = 0;
  const ending = { commandId, outcome: { status: 'completed' } } as const;

  await Promise.all([recorder.record(ending), recorder.record(ending)]);
  await recorder.record(ending);

  expect(events).toHaveLength(1);
  expect(events).toMatchObject([{ type: 'command', command: { status: 'completed' } }]);
});

it('confirms a result of a command that is unknown or another agent’s, and changes nothing', async () => {
  const [commandId] = (await enqueueIds('rightful', 1)) as [string];

  await recorder.record({ commandId, agentId: 'thief', outcome: { status: 'completed' } });
  await recorder.record({ commandId: 'cmd_of_nobody', outcome: { status: 'completed' } });

  expect(await readCommands(database.knex, 'rightful')).toMatchObject([{ status: 'pending' }]);
});
