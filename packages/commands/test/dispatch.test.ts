import {
  createTestDatabase,
  createTestRedis,
  type TestDatabase,
  type TestRedis,
} from '@streamspace/testkit';
import { ScriptedAgent } from './scripted-agent.ts';
import {
  createTestAgent,
  createTestUser,
  eventually,
  readCommands,
  startTestNode,
  type TestNode,
} from './test-node.ts';

let database: TestDatabase;
let redis: TestRedis;
let a: TestNode;
let b: TestNode;

beforeAll(async () => {
  database = await createTestDatabase();
  redis = await createTestRedis();
  a = await startTestNode({ database, redis, name: 'a' });
  b = await startTestNode({ database, redis, name: 'b' });
  await createTestUser(database.knex, 'ada');
});

afterAll(async () => {
  await a[Symbol.asyncDispose]();
  await b[Symbol.asyncDispose]();
  await redis[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

async function startSession(node: TestNode, agentId: string, sessionId: string): Promise<string> {
  const answer = await node.queue.startSession({
    sessionId,
    agentId,
    userId: 'ada',
    name: null,
    template: 't',
    platform: 'process',
    labels: {},
    payload: {
      template: 't',
      userId: 'ada',
      protocol: 'http',
      ports: [{ name: 'http', port: 80 }],
      platform: { command: ['true'] },
      resources: {},
      env: {},
    },
    cpu: null,
    memory: null,
    cpuMillis: 0,
    memoryBytes: 0,
    onVanished: 'fail',
  });
  if (answer.kind !== 'accepted') throw new Error(answer.kind);
  return answer.command?.command_id ?? '';
}

async function sessionState(id: string): Promise<unknown> {
  const row: unknown = await database.knex('sessions').where({ id }).first('state', 'error_code');
  return row;
}

it('delivers a command enqueued on one replica to the agent of another, at once', async () => {
  const credentials = await createTestAgent(database.knex, 'routed');
  using agent = await ScriptedAgent.connect(a.url, credentials);
  const startedAt = performance.now();

  await b.queue.enqueueAgentCommands({ agentId: 'routed', action: 'ping' });

  await eventually(async () =>
    expect(await readCommands(database.knex, 'routed')).toMatchObject([
      { status: 'completed', attempt: 1, error_message: null },
    ]),
  );
  // Far less than the sweep's 2 s: it was the ring.
  expect(performance.now() - startedAt).toBeLessThan(1000);
  expect(agent.received).toHaveLength(1);
});

it('delivers what was queued while the agent was away, in order, when it connects anywhere', async () => {
  const credentials = await createTestAgent(database.knex, 'away');
  await a.queue.enqueueAgentCommands({
    agentId: 'away',
    action: 'ping',
    payloads: Array(100).fill({}),
  });
  expect(
    (await readCommands(database.knex, 'away')).every(
      (c) => c.status === 'pending' && c.error_message === null,
    ),
  ).toBe(true);

  using agent = await ScriptedAgent.connect(b.url, credentials);

  await eventually(async () => {
    const commands = await readCommands(database.knex, 'away');
    expect(commands.filter((command) => command.status === 'completed')).toHaveLength(100);
  });
  const queued = (await readCommands(database.knex, 'away')).map((command) => command.command_id);
  expect(agent.received.map((command) => command.commandId)).toEqual(queued);
});

it('has no more than the window unacknowledged, whatever runs', async () => {
  const credentials = await createTestAgent(database.knex, 'windowed');
  await a.queue.enqueueAgentCommands({
    agentId: 'windowed',
    action: 'ping',
    payloads: Array(80).fill({}),
  });
  const agent = new ScriptedAgent(a.url, credentials);
  using _ = agent;
  agent.acknowledges = false;
  agent.completes = false;

  await eventually(() => expect(agent.received).toHaveLength(32));
  agent.frames[0]?.acknowledge({ acknowledged: agent.received.map((c) => c.commandId) });
  await eventually(() => expect(agent.received).toHaveLength(64));
});

it('sends again on a living connection what is not acknowledged, with the same attempt', async () => {
  const credentials = await createTestAgent(database.knex, 'forgetful');
  const agent = new ScriptedAgent(a.url, credentials);
  using _ = agent;
  agent.acknowledges = false;
  agent.completes = false;
  await b.queue.enqueueAgentCommands({ agentId: 'forgetful', action: 'ping' });
  await eventually(() => expect(agent.frames).toHaveLength(1));

  await eventually(() => expect(agent.frames.length).toBeGreaterThan(1), 15_000);

  expect(agent.received.map((command) => command.attempt)).toEqual(agent.received.map(() => 1));
  agent.frames.at(-1)?.acknowledge({ acknowledged: [agent.received[0]?.commandId ?? ''] });
  await eventually(async () =>
    expect(await readCommands(database.knex, 'forgetful')).toMatchObject([
      { status: 'acknowledged', attempt: 1 },
    ]),
  );
}, 30_000);

it('asks a new connection what it holds, and sends again only what it does not know', async () => {
  const credentials = await createTestAgent(database.knex, 'returning');
  const before = new ScriptedAgent(a.url, credentials);
  before.completes = false;
  await a.queue.enqueueAgentCommands({
    agentId: 'returning',
    action: 'ping',
    payloads: Array(3).fill({}),
  });
  await eventually(async () =>
    expect((await readCommands(database.knex, 'returning')).map((c) => c.status)).toEqual(
      Array(3).fill('acknowledged'),
    ),
  );
  const [held, ended, unknown] = before.received.map((command) => command.commandId) as [
    string,
    string,
    string,
  ];

  const after = new ScriptedAgent(b.url, credentials);
  after.completes = false;
  after.resumeAnswer = () => ({
    commands: [
      { commandId: held, state: 'held' },
      { commandId: ended, state: 'ended', outcome: { status: 'completed', result: { n: 2 } } },
      { commandId: unknown, state: 'unknown' },
    ],
  });
  using _ = after;

  await eventually(() => expect(after.received.map((c) => c.commandId)).toEqual([unknown]));
  await eventually(async () =>
    expect(await readCommands(database.knex, 'returning')).toMatchObject([
      { status: 'acknowledged', attempt: 1, sent_epoch: '2' },
      { status: 'completed', result: { n: 2 } },
      { status: 'acknowledged', attempt: 2, sent_epoch: '2' },
    ]),
  );
  await eventually(() => expect(before.closings).toMatchObject([{ code: 'superseded' }]));
  before[Symbol.dispose]();
});

it('ignores acks and statuses of an older connection and takes its results', async () => {
  const credentials = await createTestAgent(database.knex, 'taken-over');
  const older = new ScriptedAgent(a.url, credentials);
  older.acknowledges = false;
  older.completes = false;
  await a.queue.enqueueAgentCommands({
    agentId: 'taken-over',
    action: 'ping',
    payloads: Array(2).fill({}),
  });
  await eventually(() => expect(older.received).toHaveLength(2));
  const [first, second] = older.received.map((command) => command.commandId) as [string, string];
  // The old owner does not hear of the new epoch: as if its replica were frozen for a moment.
  await database.knex.raw(
    `select mint_epoch('{"agentId":"taken-over","bootId":"elsewhere","connectionId":"c","keyId":"k",
      "highestEpoch":0,"instanceId":"instance-1","journalId":"journal-1"}')`,
  );
  await database.knex.raw(
    `select settle_resumed('{"agentId":"taken-over","epoch":2,"held":[],"unknown":["${first}","${second}"],
      "alone":0,"journalChanged":false}')`,
  );

  older.frames[0]?.acknowledge({ acknowledged: [first, second] });
  await older.report([{ commandId: second, attempt: 1, outcome: { status: 'completed' } }]);

  expect(await readCommands(database.knex, 'taken-over')).toMatchObject([
    { status: 'pending', attempt: 1 },
    { status: 'completed' },
  ]);
  older[Symbol.dispose]();
});

it('closes a connection whose epoch is no longer current, though nobody told it', async () => {
  const credentials = await createTestAgent(database.knex, 'unaware');
  using agent = await ScriptedAgent.connect(a.url, credentials);
  await database
    .knex('agent_queues')
    .where({ agent_id: 'unaware' })
    .update({ connection_epoch: 9 });

  await eventually(() => expect(agent.socket.connected).toBe(false));

  expect(agent.closings).toMatchObject([{ code: 'superseded' }]);
});

it('hands out an epoch above the highest that the agent has seen', async () => {
  const credentials = await createTestAgent(database.knex, 'ahead');
  using agent = await ScriptedAgent.connect(a.url, { ...credentials, highestEpoch: 40 });
  expect(agent.epoch).toBe(41);
});

it.each([
  ['a wrong key', { key: 'wrong' }, 'unauthorized'],
  ['another protocol', { protocolVersion: 99 }, 'unsupported_protocol'],
  ['no instance', { instanceId: '' }, 'invalid_hello'],
])('refuses an agent with %s, and says so', async (_, hello, code) => {
  const agentId = `refused-${code}`;
  const credentials = await createTestAgent(database.knex, agentId);
  await expect(ScriptedAgent.connect(a.url, { ...credentials, ...hello })).rejects.toMatchObject({
    code,
  });
});

it('refuses an unknown agent with the words that a wrong key gets', async () => {
  await expect(ScriptedAgent.connect(a.url, { agentId: 'nobody', key: 'x' })).rejects.toMatchObject(
    { code: 'unauthorized' },
  );
});

it('ends a command for one unreadable result without harming the others of the batch', async () => {
  const credentials = await createTestAgent(database.knex, 'garbled');
  const agent = new ScriptedAgent(a.url, credentials);
  using _ = agent;
  agent.completes = false;
  await a.queue.enqueueAgentCommands({
    agentId: 'garbled',
    action: 'ping',
    payloads: Array(4).fill({}),
  });
  await eventually(() => expect(agent.received).toHaveLength(4));
  const ids = agent.received.map((command) => command.commandId);

  const answer = await agent.report([
    {
      commandId: ids[0],
      attempt: 1,
      outcome: { status: 'completed', result: { text: 'a\u0000b\ud800' } },
    },
    { commandId: ids[1], attempt: 1, outcome: 'nonsense' },
    { commandId: ids[2], attempt: 1, outcome: { status: 'completed' } },
    { nothing: true },
    {
      commandId: ids[3],
      attempt: 1,
      outcome: { status: 'failed', errorCode: 'boom', errorMessage: 'it\u0000broke' },
    },
    { commandId: 'cmd_of_nobody', attempt: 1, outcome: { status: 'completed' } },
  ]);

  expect(answer.confirmed).toEqual([...ids, 'cmd_of_nobody']);
  expect(await readCommands(database.knex, 'garbled')).toMatchObject([
    { status: 'completed', result: { text: 'a\uFFFDb\uFFFD' } },
    { status: 'failed', error_code: 'result_unreadable' },
    { status: 'completed' },
    { status: 'failed', error_code: 'boom', error_message: 'it\uFFFDbroke' },
  ]);
});

it('lets no agent end a command of another', async () => {
  const thief = await createTestAgent(database.knex, 'thief');
  await createTestAgent(database.knex, 'owner');
  await a.queue.enqueueAgentCommands({ agentId: 'owner', action: 'ping' });
  const [command] = await readCommands(database.knex, 'owner');
  using agent = await ScriptedAgent.connect(a.url, thief);

  await agent.report([
    { commandId: command?.command_id ?? '', attempt: 1, outcome: { status: 'completed' } },
  ]);

  expect(await readCommands(database.knex, 'owner')).toMatchObject([{ status: 'pending' }]);
});

it('keeps the first ending, whatever is said afterwards', async () => {
  const credentials = await createTestAgent(database.knex, 'repeating');
  using agent = await ScriptedAgent.connect(a.url, credentials);
  await a.queue.enqueueAgentCommands({ agentId: 'repeating', action: 'ping' });
  await eventually(async () =>
    expect(await readCommands(database.knex, 'repeating')).toMatchObject([{ status: 'completed' }]),
  );
  const [command] = agent.received;
  const late = {
    commandId: command?.commandId ?? '',
    attempt: 1,
    outcome: { status: 'failed', errorCode: 'late' },
  };

  await Promise.all([agent.report([late]), agent.report([late]), agent.report([late])]);

  expect(await readCommands(database.knex, 'repeating')).toMatchObject([{ status: 'completed' }]);
});

it('ends start and stop together when the start was never sent, and gives the room back', async () => {
  await createTestAgent(database.knex, 'unsent', { maxSessions: 1 });
  await startSession(a, 'unsent', 'ses-unsent');

  const answer = await b.queue.changeSession({ sessionId: 'ses-unsent', action: 'stop_session' });

  expect(answer).toMatchObject({ kind: 'accepted', session: { state: 'terminated' } });
  expect(await readCommands(database.knex, 'unsent')).toMatchObject([
    { action: 'start_session', status: 'cancelled', error_code: 'superseded', attempt: 0 },
    { action: 'stop_session', status: 'completed', attempt: 0 },
  ]);
  await expect(startSession(a, 'unsent', 'ses-unsent-2')).resolves.toMatch(/^cmd_/);
});

it('delivers the stop when the start may have been sent, and the stop ends both', async () => {
  const credentials = await createTestAgent(database.knex, 'sent');
  const agent = new ScriptedAgent(a.url, credentials);
  using _ = agent;
  agent.completes = false;
  await startSession(b, 'sent', 'ses-sent');
  await eventually(() => expect(agent.received).toHaveLength(1));

  const first = await b.queue.changeSession({ sessionId: 'ses-sent', action: 'stop_session' });
  const second = await a.queue.changeSession({ sessionId: 'ses-sent', action: 'stop_session' });
  await eventually(() => expect(agent.received).toHaveLength(2));
  await agent.complete(agent.received.slice(1));

  if (first.kind !== 'accepted' || second.kind !== 'accepted') throw new Error('not accepted');
  expect(second.command?.command_id).toBe(first.command?.command_id);
  expect(await sessionState('ses-sent')).toMatchObject({ state: 'terminated' });
  expect(await readCommands(database.knex, 'sent')).toMatchObject([
    { action: 'start_session', status: 'cancelled', error_code: 'superseded' },
    { action: 'stop_session', status: 'completed' },
  ]);
});

it('fails a session whose start failed, and says why', async () => {
  const credentials = await createTestAgent(database.knex, 'failing', { maxSessions: 1 });
  const agent = new ScriptedAgent(a.url, credentials);
  using _ = agent;
  agent.completes = false;
  await startSession(b, 'failing', 'ses-failing');
  await eventually(() => expect(agent.received).toHaveLength(1));

  await agent.report([
    {
      commandId: agent.received[0]?.commandId ?? '',
      attempt: 1,
      outcome: { status: 'failed', errorCode: 'port_silent', errorMessage: 'Nothing listens.' },
    },
  ]);

  expect(await sessionState('ses-failing')).toEqual({ state: 'failed', error_code: 'port_silent' });
  expect(
    a.events.some((event) => event.type === 'session' && event.session.state === 'failed'),
  ).toBe(true);
  await expect(startSession(a, 'failing', 'ses-failing-2')).resolves.toMatch(/^cmd_/);
});

it('counts statuses only forward, and only for the generation that they are of', async () => {
  const credentials = await createTestAgent(database.knex, 'reporting');
  const agent = new ScriptedAgent(a.url, credentials);
  using _ = agent;
  agent.completes = false;
  await startSession(b, 'reporting', 'ses-reporting');
  await eventually(() => expect(agent.received).toHaveLength(1));
  const say = async (sequence: number, phase: string, generation = 1): Promise<unknown> =>
    agent.socket.timeout(5000).emitWithAck('statuses', {
      statuses: [{ sessionId: 'ses-reporting', generation, sequence, state: 'starting', phase }],
    });
  const phase = async (): Promise<unknown> =>
    database.knex('sessions').where({ id: 'ses-reporting' }).first('state', 'phase');

  await say(2, 'pulling');
  expect(await phase()).toEqual({ state: 'starting', phase: 'pulling' });
  await say(1, 'scheduling');
  await say(3, 'other', 2);
  expect(await phase()).toEqual({ state: 'starting', phase: 'pulling' });
  await agent.complete(agent.received, { endpoint: { host: '127.0.0.1', port: 4000 } });
  expect(await sessionState('ses-reporting')).toMatchObject({ state: 'running' });
});

it('fails a session that its agent no longer has, and names those that it should not have', async () => {
  const credentials = await createTestAgent(database.knex, 'inventoried');
  const before = new ScriptedAgent(a.url, credentials);
  await startSession(b, 'inventoried', 'ses-vanished');
  await eventually(async () =>
    expect(await sessionState('ses-vanished')).toMatchObject({ state: 'running' }),
  );
  before[Symbol.dispose]();
  const after = new ScriptedAgent(b.url, credentials);
  using _ = after;
  after.inventory = {
    complete: true,
    sessions: [{ sessionId: 'ses-of-nobody', generation: 1, state: 'running' }],
  };

  await eventually(async () =>
    expect(await sessionState('ses-vanished')).toEqual({ state: 'failed', error_code: 'vanished' }),
  );
  await eventually(() => expect(after.orphans).toEqual([['ses-of-nobody']]));
});

it('stops what runs although it has ended', async () => {
  const credentials = await createTestAgent(database.knex, 'resurrected');
  const before = new ScriptedAgent(a.url, credentials);
  await startSession(b, 'resurrected', 'ses-resurrected');
  await eventually(async () =>
    expect(await sessionState('ses-resurrected')).toMatchObject({ state: 'running' }),
  );
  await b.queue.changeSession({ sessionId: 'ses-resurrected', action: 'stop_session' });
  await eventually(async () =>
    expect(await sessionState('ses-resurrected')).toMatchObject({ state: 'terminated' }),
  );
  before[Symbol.dispose]();
  const after = new ScriptedAgent(b.url, credentials);
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
  expect(await sessionState('ses-resurrected')).toMatchObject({ state: 'terminated' });
});

it('asks for a cancellation until the command ends, and the truth wins', async () => {
  const credentials = await createTestAgent(database.knex, 'cancelled');
  const agent = new ScriptedAgent(a.url, credentials);
  using _ = agent;
  agent.completes = false;
  await b.queue.enqueueAgentCommands({ agentId: 'cancelled', action: 'ping' });
  await eventually(async () =>
    expect(await readCommands(database.knex, 'cancelled')).toMatchObject([
      { status: 'acknowledged' },
    ]),
  );
  const commandId = agent.received[0]?.commandId ?? '';

  expect(await b.queue.cancel(commandId)).toMatchObject({ kind: 'accepted' });
  await eventually(() => expect(agent.cancelled.length).toBeGreaterThan(1));
  await agent.complete(agent.received);

  expect(await readCommands(database.knex, 'cancelled')).toMatchObject([{ status: 'completed' }]);
  expect(await b.queue.cancel(commandId)).toMatchObject({ kind: 'ended' });
});

it('sends nothing to an agent whose key was revoked, and cuts it off', async () => {
  const credentials = await createTestAgent(database.knex, 'revoked');
  using agent = await ScriptedAgent.connect(a.url, credentials);
  await database.knex('agent_keys').where({ agent_id: 'revoked' }).delete();

  await eventually(() => expect(agent.socket.connected).toBe(false));

  expect(agent.closings).toMatchObject([{ code: 'key_revoked' }]);
});

it('asks an agent through another replica, and says when it is away', async () => {
  const credentials = await createTestAgent(database.knex, 'asked');
  const agent = await ScriptedAgent.connect(a.url, credentials);
  await expect(b.hub.request('asked', 'ping', {}, { timeoutMs: 2000 })).resolves.toEqual({
    ok: true,
    payload: { pong: true },
  });
  agent[Symbol.dispose]();
  await eventually(async () =>
    expect(await b.hub.request('asked', 'ping', {}, { timeoutMs: 500 })).toMatchObject({
      ok: false,
      code: 'agent_away',
    }),
  );
});

it('keeps one of two hosts that share an identity, and says so in its record', async () => {
  const credentials = await createTestAgent(database.knex, 'twins');
  const one = { ...credentials, instanceId: 'one' };
  const two = { ...credentials, instanceId: 'two' };
  const opened: ScriptedAgent[] = [];
  opened.push(await ScriptedAgent.connect(a.url, one));
  opened.push(await ScriptedAgent.connect(b.url, two));
  opened.push(await ScriptedAgent.connect(a.url, one));

  await expect(ScriptedAgent.connect(b.url, two)).rejects.toMatchObject({
    code: 'duplicate_identity',
  });

  expect(opened[2]?.socket.connected).toBe(true);
  expect(await database.knex('agents').where({ agent_id: 'twins' }).first('notice_code')).toEqual({
    notice_code: 'duplicate_identity',
  });
  for (const agent of opened) agent[Symbol.dispose]();
});

it('expires what was never claimed, and nothing else', async () => {
  const credentials = await createTestAgent(database.knex, 'expiring');
  await a.queue.enqueueAgentCommands({
    agentId: 'expiring',
    action: 'ping',
    payloads: Array(2).fill({}),
  });
  await database.knex.raw(
    `update agent_commands set expires_at = now() - interval '1 second' where agent_id = 'expiring'`,
  );
  await database.knex.raw(
    `update agent_commands set attempt = 1, status = 'acknowledged', sent_epoch = 0
     where agent_id = 'expiring' and seq = 1`,
  );

  await a.sweep.run();

  expect(await readCommands(database.knex, 'expiring')).toMatchObject([
    { status: 'acknowledged' },
    { status: 'expired', error_code: 'expired' },
  ]);
  using agent = await ScriptedAgent.connect(a.url, credentials);
  await eventually(() => expect(agent.received).toHaveLength(1));
});
