import { ScriptedAgent } from './scripted-agent.ts';
import { createTestAgent, eventually, readCommands } from './test-node.ts';
import { readSessionState, startTestSession, startTwoNodes, type TwoNodes } from './two-nodes.ts';

let nodes: TwoNodes;

beforeAll(async () => {
  nodes = await startTwoNodes();
});

afterAll(() => nodes[Symbol.asyncDispose]());

it('ends start and stop together when the start was never sent, and gives the room back', async () => {
  await createTestAgent(nodes.database.knex, 'unsent', { maxSessions: 1 });
  await startTestSession(nodes.a, 'unsent', 'ses-unsent');

  const answer = await nodes.b.queue.changeSession({
    sessionId: 'ses-unsent',
    action: 'stop_session',
  });

  expect(answer).toMatchObject({ kind: 'accepted', session: { state: 'terminated' } });
  expect(await readCommands(nodes.database.knex, 'unsent')).toMatchObject([
    { action: 'start_session', status: 'cancelled', error_code: 'superseded', attempt: 0 },
    { action: 'stop_session', status: 'completed', attempt: 0 },
  ]);
  await expect(startTestSession(nodes.a, 'unsent', 'ses-unsent-2')).resolves.toMatch(/^cmd_/);
  const startId = (await readCommands(nodes.database.knex, 'unsent'))[0]?.command_id;
  expect(
    nodes.b.events.some(
      (event) =>
        event.type === 'command' &&
        event.command.id === startId &&
        event.command.status === 'cancelled',
    ),
  ).toBe(true);
});

it('delivers the stop when the start may have been sent, and the stop ends both', async () => {
  const credentials = await createTestAgent(nodes.database.knex, 'sent');
  const agent = new ScriptedAgent(nodes.a.url, credentials);
  using _ = agent;
  agent.completes = false;
  await startTestSession(nodes.b, 'sent', 'ses-sent');
  await eventually(() => expect(agent.received).toHaveLength(1));

  const first = await nodes.b.queue.changeSession({
    sessionId: 'ses-sent',
    action: 'stop_session',
  });
  const second = await nodes.a.queue.changeSession({
    sessionId: 'ses-sent',
    action: 'stop_session',
  });
  await eventually(() => expect(agent.received).toHaveLength(2));
  await agent.complete(agent.received.slice(1));

  if (first.kind !== 'accepted' || second.kind !== 'accepted') throw new Error('not accepted');
  expect(second.command?.command_id).toBe(first.command?.command_id);
  expect(await readSessionState(nodes.database.knex, 'ses-sent')).toMatchObject({
    state: 'terminated',
  });
  expect(await readCommands(nodes.database.knex, 'sent')).toMatchObject([
    { action: 'start_session', status: 'cancelled', error_code: 'superseded' },
    { action: 'stop_session', status: 'completed' },
  ]);
});

it('fails a session whose start failed, and says why', async () => {
  const credentials = await createTestAgent(nodes.database.knex, 'failing', { maxSessions: 1 });
  const agent = new ScriptedAgent(nodes.a.url, credentials);
  using _ = agent;
  agent.completes = false;
  await startTestSession(nodes.b, 'failing', 'ses-failing');
  await eventually(() => expect(agent.received).toHaveLength(1));

  await agent.report([
    {
      commandId: agent.received[0]?.commandId ?? '',
      attempt: 1,
      outcome: { status: 'failed', errorCode: 'port_silent', errorMessage: 'Nothing listens.' },
    },
  ]);

  expect(await readSessionState(nodes.database.knex, 'ses-failing')).toEqual({
    state: 'failed',
    error_code: 'port_silent',
  });
  expect(
    nodes.a.events.some((event) => event.type === 'session' && event.session.state === 'failed'),
  ).toBe(true);
  await expect(startTestSession(nodes.a, 'failing', 'ses-failing-2')).resolves.toMatch(/^cmd_/);
});

it('counts statuses only forward, and only for the generation that they are of', async () => {
  const credentials = await createTestAgent(nodes.database.knex, 'reporting');
  const agent = new ScriptedAgent(nodes.a.url, credentials);
  using _ = agent;
  agent.completes = false;
  await startTestSession(nodes.b, 'reporting', 'ses-reporting');
  await eventually(() => expect(agent.received).toHaveLength(1));
  const say = async (sequence: number, phase: string, generation = 1): Promise<unknown> =>
    agent.socket.emitWithAck('statuses', {
      statuses: [{ sessionId: 'ses-reporting', generation, sequence, state: 'starting', phase }],
    });
  const phase = async (): Promise<unknown> =>
    nodes.database.knex('sessions').where({ id: 'ses-reporting' }).first('state', 'phase');

  await say(2, 'pulling');
  expect(await phase()).toEqual({ state: 'starting', phase: 'pulling' });
  await say(1, 'scheduling');
  await say(3, 'other', 2);
  expect(await phase()).toEqual({ state: 'starting', phase: 'pulling' });
  await agent.complete(agent.received, { endpoint: { host: '127.0.0.1', port: 4000 } });
  expect(await readSessionState(nodes.database.knex, 'ses-reporting')).toMatchObject({
    state: 'running',
  });
});

it('fails a session that its agent no longer has, and names those that it should not have', async () => {
  const credentials = await createTestAgent(nodes.database.knex, 'inventoried');
  const before = new ScriptedAgent(nodes.a.url, credentials);
  await startTestSession(nodes.b, 'inventoried', 'ses-vanished');
  await eventually(async () =>
    expect(await readSessionState(nodes.database.knex, 'ses-vanished')).toMatchObject({
      state: 'running',
    }),
  );
  before[Symbol.dispose]();
  const after = new ScriptedAgent(nodes.b.url, credentials);
  using _ = after;
  after.inventory = {
    complete: true,
    sessions: [{ sessionId: 'ses-of-nobody', generation: 1, state: 'running' }],
  };

  await eventually(async () =>
    expect(await readSessionState(nodes.database.knex, 'ses-vanished')).toEqual({
      state: 'failed',
      error_code: 'vanished',
    }),
  );
  await eventually(() => expect(after.orphans).toEqual([['ses-of-nobody']]));
});

it('stops what runs although it has ended', async () => {
  const credentials = await createTestAgent(nodes.database.knex, 'resurrected');
  const before = new ScriptedAgent(nodes.a.url, credentials);
  await startTestSession(nodes.b, 'resurrected', 'ses-resurrected');
  await eventually(async () =>
    expect(await readSessionState(nodes.database.knex, 'ses-resurrected')).toMatchObject({
      state: 'running',
    }),
  );
  await nodes.b.queue.changeSession({ sessionId: 'ses-resurrected', action: 'stop_session' });
  await eventually(async () =>
    expect(await readSessionState(nodes.database.knex, 'ses-resurrected')).toMatchObject({
      state: 'terminated',
    }),
  );
  before[Symbol.dispose]();
  const after = new ScriptedAgent(nodes.b.url, credentials);
  using _ = after;
  after.inventory = {
    complete: true,
    sessions: [{ sessionId: 'ses-resurrected', generation: 1, state: 'running' }],
  };

  await eventually(() =>
    expect(after.received).toMatchObject([
      { action: 'stop_session', sessionId: 'ses-resurrected', generation: 3 },
    ]),
  );
  expect(await readSessionState(nodes.database.knex, 'ses-resurrected')).toMatchObject({
    state: 'terminated',
  });
});

it('leaves a failed session failed though its agent still has the record of it', async () => {
  const credentials = await createTestAgent(nodes.database.knex, 'recording');
  const before = new ScriptedAgent(nodes.a.url, credentials);
  before.completes = false;
  await startTestSession(nodes.b, 'recording', 'ses-recorded');
  await eventually(() => expect(before.received).toHaveLength(1));
  await before.report([
    {
      commandId: before.received[0]?.commandId ?? '',
      attempt: 1,
      outcome: { status: 'failed', errorCode: 'process_exited', errorMessage: 'It ended.' },
    },
  ]);
  before[Symbol.dispose]();
  const after = new ScriptedAgent(nodes.b.url, credentials);
  using _ = after;
  after.inventory = {
    complete: true,
    sessions: [{ sessionId: 'ses-recorded', generation: 1, state: 'failed' }],
  };

  // The answer to the inventory comes after everything that it makes the control plane do.
  await eventually(() => expect(after.orphans).toEqual([[]]));

  expect(await readSessionState(nodes.database.knex, 'ses-recorded')).toEqual({
    state: 'failed',
    error_code: 'process_exited',
  });
  expect(after.received).toEqual([]);
});
