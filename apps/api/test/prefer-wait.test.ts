import type { SessionAndCommand } from '@streamspace/protocol';
import {
  createTestAgent,
  finishCommand,
  startTestApi,
  type Answer,
  type TestApi,
} from './test-api.ts';

let test: TestApi;
let agentId: string;

beforeAll(async () => {
  test = await startTestApi({ replicas: 2 });
  agentId = await createTestAgent(test.db);
});

afterAll(async () => test[Symbol.asyncDispose]());

const create = (prefer: string, headers = {}): Promise<Answer> =>
  test.api.call('/api/v1/sessions', {
    method: 'POST',
    body: { template: 'hello-web', agentId },
    headers: { prefer, ...headers },
  });

async function openStart(): Promise<string> {
  for (;;) {
    const [row] = await test
      .db('agent_commands')
      .where({ action: 'start_session', status: 'pending' })
      .select<{ command_id: string }[]>('command_id');
    if (row) return row.command_id;
  }
}

async function timed<T>(work: Promise<T>): Promise<{ result: T; ms: number }> {
  const startedAt = performance.now();
  const result = await work;
  return { result, ms: performance.now() - startedAt };
}

it('answers after the time with the state then', async () => {
  const { result, ms } = await timed(create('wait=1'));
  expect(result.status).toBe(202);
  expect(result.headers.get('preference-applied')).toBe('wait=1');
  expect(result.body).toMatchObject({
    session: { state: 'pending' },
    command: { status: 'pending' },
  });
  expect(ms).toBeGreaterThan(950);
  expect(ms).toBeLessThan(3000);
  await finishCommand(test.db, result.body.command.id as string);
});

it('answers within a second of the end when nothing is told to it', async () => {
  const waiting = create('wait=30');
  await finishCommand(test.db, await openStart());
  const { result, ms } = await timed(waiting);
  expect(result.body).toMatchObject({
    session: { state: 'running' },
    command: { status: 'completed' },
  });
  expect(ms).toBeLessThan(2500);
});

it('is woken at once by another replica’s event', async () => {
  const waiting = create('respond-async, wait=30');
  const commandId = await openStart();
  // It has looked once, and would look again a second after that.
  await new Promise((resolve) => setTimeout(resolve, 150));
  await finishCommand(test.db, commandId, {
    status: 'failed',
    error_code: 'image_missing',
    error_message: 'There is no such image.',
  });
  test.replicas[1]!.app.events.publish([
    {
      type: 'command',
      userId: null,
      command: {
        id: commandId,
        agentId,
        sessionId: null,
        action: 'start_session',
        status: 'failed',
        errorCode: null,
        errorMessage: null,
        updatedAt: new Date().toISOString(),
      },
    },
  ]);
  const { result, ms } = await timed(waiting);
  expect(ms).toBeLessThan(600);
  expect(result.status).toBe(202);
  expect(result.body.session).toMatchObject({
    state: 'failed',
    error: { code: 'image_missing', message: 'There is no such image.' },
  });
});

it('waits for a stop, a hibernation and a waking as well', async () => {
  const started = (await create('')).body as SessionAndCommand;
  await finishCommand(test.db, started.command!.id);
  const { id } = started.session;
  const end = async (work: Promise<Answer>, action: string): Promise<Answer> => {
    for (;;) {
      const [row] = await test
        .db('agent_commands')
        .where({ session_id: id, action, status: 'pending' })
        .select<{ command_id: string }[]>('command_id');
      if (!row) continue;
      await finishCommand(test.db, row.command_id);
      return work;
    }
  };
  const call = (path: string, method = 'POST') =>
    test.api.call(`/api/v1/sessions/${id}${path}`, { method, headers: { prefer: 'wait=20' } });
  const hibernated = await end(call('/hibernate'), 'hibernate_session');
  expect(hibernated.body.session.state).toBe('hibernated');
  const woken = await end(call('/wake'), 'wake_session');
  expect(woken.body.session.state).toBe('running');
  const stopped = await end(call('', 'DELETE'), 'stop_session');
  expect([stopped.status, stopped.body.session.state]).toEqual([202, 'terminated']);
});

it('waits for a replayed answer, too', async () => {
  const first = await create('', { 'idempotency-key': 'wait' });
  await finishCommand(test.db, first.body.command.id as string);
  const replay = await create('wait=5', { 'idempotency-key': 'wait' });
  expect(replay.headers.get('idempotency-replayed')).toBe('true');
  expect(replay.body.session).toMatchObject({ id: first.body.session.id, state: 'running' });
});

it('caps what is asked for, and passes over what it cannot read', async () => {
  const started = await create('');
  await finishCommand(test.db, started.body.command.id as string);
  const stop = (prefer: string) =>
    test.api.call(`/api/v1/sessions/${started.body.session.id}`, {
      method: 'DELETE',
      headers: { prefer },
    });
  for (const unreadable of ['wait', 'wait=soon', 'waiting=3', 'wait=-1'])
    expect((await stop(unreadable)).headers.get('preference-applied')).toBeNull();
  const [open] = await test
    .db('agent_commands')
    .where({ action: 'stop_session', status: 'pending' })
    .select<{ command_id: string }[]>('command_id');
  await finishCommand(test.db, open!.command_id);
  expect((await stop('wait=999')).headers.get('preference-applied')).toBe('wait=60');
});
