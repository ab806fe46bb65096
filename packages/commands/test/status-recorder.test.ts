import type { LiveEvent, SessionStatus } from '@streamspace/protocol';
import { createTestDatabase, type TestDatabase } from '@streamspace/testkit';
import { StatusRecorder } from '../src/status-recorder.ts';
import { createTestAgent, createTestUser } from './test-node.ts';
import { createTestQueue } from './test-queue.ts';
import { startTestSession } from './two-nodes.ts';

// R15: a status counts from the current epoch, for the current generation, if (epoch, sequence) is higher.

let database: TestDatabase;
let recorder: StatusRecorder;
const events: LiveEvent[] = [];

beforeAll(async () => {
  database = await createTestDatabase();
  recorder = new StatusRecorder({
    db: database.knex,
    events: { publish: (some) => void events.push(...some) },
  });
  await createTestUser(database.knex, 'ada');
});

afterAll(() => database[Symbol.asyncDispose]());

async function createSession(agentId: string): Promise<string> {
  await createTestAgent(database.knex, agentId);
  await startTestSession({ queue: createTestQueue(database.knex) }, agentId, `ses-${agentId}`);
  return `ses-${agentId}`;
}

function status(sessionId: string, more: Partial<SessionStatus> = {}): SessionStatus {
  return { sessionId, generation: 1, sequence: 1, state: 'starting', phase: 'pulling', ...more };
}

async function readPhase(id: string): Promise<unknown> {
  return (await database.knex('sessions').where({ id }).first('state', 'phase')) as unknown;
}

it('takes no word of an agent about a session of another, in whatever company it comes', async () => {
  const sessionId = await createSession('rightful');
  await createTestAgent(database.knex, 'thief');

  await Promise.all([
    recorder.record({
      agentId: 'thief',
      epoch: 9,
      status: status(sessionId, { sequence: 9, phase: 'stolen' }),
    }),
    recorder.record({ agentId: 'rightful', epoch: 1, status: status(sessionId) }),
    recorder.record({
      agentId: 'thief',
      epoch: 9,
      status: status(sessionId, { sequence: 10, phase: 'stolen' }),
    }),
  ]);

  expect(await readPhase(sessionId)).toEqual({ state: 'starting', phase: 'pulling' });
  const [observed] = await database
    .knex('sessions')
    .where({ id: sessionId })
    .select('observed_epoch', 'observed_seq');
  expect(observed).toEqual({ observed_epoch: '1', observed_seq: '1' });
});

it('takes the latest of a batch, and a lower sequence only under a higher epoch', async () => {
  const sessionId = await createSession('latest');
  const say = async (epoch: number, sequence: number, phase: string): Promise<void> =>
    recorder.record({ agentId: 'latest', epoch, status: status(sessionId, { sequence, phase }) });

  await Promise.all([say(1, 3, 'third'), say(1, 5, 'fifth'), say(1, 4, 'fourth')]);
  expect(await readPhase(sessionId)).toMatchObject({ phase: 'fifth' });
  await say(1, 5, 'again');
  await say(0, 99, 'older');
  expect(await readPhase(sessionId)).toMatchObject({ phase: 'fifth' });
  await say(2, 1, 'restarted');
  expect(await readPhase(sessionId)).toMatchObject({ phase: 'restarted' });
});

it.each(['terminating', 'terminated', 'failed'])('moves no session that is %s', async (state) => {
  const sessionId = await createSession(`of-${state}`);
  await database.knex('sessions').where({ id: sessionId }).update({ state });
  events.length = 0;

  await recorder.record({ agentId: `of-${state}`, epoch: 1, status: status(sessionId) });

  expect(await readPhase(sessionId)).toEqual({ state, phase: null });
  expect(events).toEqual([]);
});
