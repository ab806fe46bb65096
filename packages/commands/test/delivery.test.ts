import { ScriptedAgent } from './scripted-agent.ts';
import { createTestAgent, eventually, readCommands } from './test-node.ts';
import { pings, startTwoNodes, type TwoNodes } from './two-nodes.ts';

let nodes: TwoNodes;

beforeAll(async () => {
  nodes = await startTwoNodes();
});

afterAll(() => nodes[Symbol.asyncDispose]());

it('delivers a command enqueued on one replica to the agent of another, at once', async () => {
  const credentials = await createTestAgent(nodes.database.knex, 'routed');
  using agent = await ScriptedAgent.connect(nodes.a.url, credentials);
  const startedAt = performance.now();

  await nodes.b.queue.enqueueAgentCommands({ agentId: 'routed', action: 'ping' });

  await eventually(async () =>
    expect(await readCommands(nodes.database.knex, 'routed')).toMatchObject([
      { status: 'completed', attempt: 1, error_message: null },
    ]),
  );
  // Far less than the sweep's 2 s: it was the ring.
  expect(performance.now() - startedAt).toBeLessThan(1000);
  expect(agent.received).toHaveLength(1);
});

it('delivers what was queued while the agent was away, in order, when it connects anywhere', async () => {
  const credentials = await createTestAgent(nodes.database.knex, 'away');
  await nodes.a.queue.enqueueAgentCommands({
    agentId: 'away',
    action: 'ping',
    payloads: pings(100),
  });
  expect(
    (await readCommands(nodes.database.knex, 'away')).every(
      (c) => c.status === 'pending' && c.error_message === null,
    ),
  ).toBe(true);

  using agent = await ScriptedAgent.connect(nodes.b.url, credentials);

  await eventually(async () => {
    const commands = await readCommands(nodes.database.knex, 'away');
    expect(commands.filter((command) => command.status === 'completed')).toHaveLength(100);
  });
  const queued = (await readCommands(nodes.database.knex, 'away')).map(
    (command) => command.command_id,
  );
  expect(agent.received.map((command) => command.commandId)).toEqual(queued);
});

it('has no more than the window unacknowledged, whatever runs', async () => {
  const credentials = await createTestAgent(nodes.database.knex, 'windowed');
  await nodes.a.queue.enqueueAgentCommands({
    agentId: 'windowed',
    action: 'ping',
    payloads: pings(80),
  });
  const agent = new ScriptedAgent(nodes.a.url, credentials);
  using _ = agent;
  agent.acknowledges = false;
  agent.completes = false;

  await eventually(() => expect(agent.received).toHaveLength(32));
  agent.frames[0]?.acknowledge({ acknowledged: agent.received.map((c) => c.commandId) });
  await eventually(() => expect(agent.received).toHaveLength(64));
});

it('sends again on a living connection what is not acknowledged, with the same attempt', async () => {
  const credentials = await createTestAgent(nodes.database.knex, 'forgetful');
  const agent = new ScriptedAgent(nodes.a.url, credentials);
  using _ = agent;
  agent.acknowledges = false;
  agent.completes = false;
  await nodes.b.queue.enqueueAgentCommands({ agentId: 'forgetful', action: 'ping' });
  await eventually(() => expect(agent.frames).toHaveLength(1));

  await eventually(() => expect(agent.frames.length).toBeGreaterThan(1), 15_000);

  expect(agent.received.map((command) => command.attempt)).toEqual(agent.received.map(() => 1));
  agent.frames.at(-1)?.acknowledge({ acknowledged: [agent.received[0]?.commandId ?? ''] });
  await eventually(async () =>
    expect(await readCommands(nodes.database.knex, 'forgetful')).toMatchObject([
      { status: 'acknowledged', attempt: 1 },
    ]),
  );
}, 30_000);

it('asks a new connection what it holds, and sends again only what it does not know', async () => {
  const credentials = await createTestAgent(nodes.database.knex, 'returning');
  const before = new ScriptedAgent(nodes.a.url, credentials);
  before.completes = false;
  await nodes.a.queue.enqueueAgentCommands({
    agentId: 'returning',
    action: 'ping',
    payloads: pings(3),
  });
  await eventually(async () =>
    expect((await readCommands(nodes.database.knex, 'returning')).map((c) => c.status)).toEqual(
      Array(3).fill('acknowledged'),
    ),
  );
  const [held, ended, unknown] = before.received.map((command) => command.commandId) as [
    string,
    string,
    string,
  ];

  const after = new ScriptedAgent(nodes.b.url, credentials);
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
    expect(await readCommands(nodes.database.knex, 'returning')).toMatchObject([
      { status: 'acknowledged', attempt: 1, sent_epoch: '2' },
      { status: 'completed', result: { n: 2 } },
      { status: 'acknowledged', attempt: 2, sent_epoch: '2' },
    ]),
  );
  await eventually(() => expect(before.closings).toMatchObject([{ code: 'superseded' }]));
  before[Symbol.dispose]();
});

it('expires what was never claimed, and nothing else', async () => {
  const credentials = await createTestAgent(nodes.database.knex, 'expiring');
  await nodes.a.queue.enqueueAgentCommands({
    agentId: 'expiring',
    action: 'ping',
    payloads: pings(2),
  });
  await nodes.database.knex.raw(
    `update agent_commands set expires_at = now() - interval '1 second' where agent_id = 'expiring'`,
  );
  await nodes.database.knex.raw(
    `update agent_commands set attempt = 1, status = 'acknowledged', sent_epoch = 0
     where agent_id = 'expiring' and seq = 1`,
  );

  await nodes.a.sweep.run();

  expect(await readCommands(nodes.database.knex, 'expiring')).toMatchObject([
    { status: 'acknowledged' },
    { status: 'expired', error_code: 'expired' },
  ]);
  using agent = await ScriptedAgent.connect(nodes.a.url, credentials);
  await eventually(() => expect(agent.received).toHaveLength(1));
});

// F34, R7: one of them may be what breaks the connection; the others are not counted with it.
it('delivers one at a time after a connection that broke unacknowledged, until the first ack', async () => {
  const credentials = await createTestAgent(nodes.database.knex, 'breaking');
  await nodes.a.queue.enqueueAgentCommands({
    agentId: 'breaking',
    action: 'ping',
    payloads: pings(3),
  });
  const before = new ScriptedAgent(nodes.a.url, credentials);
  before.acknowledges = false;
  before.completes = false;
  await eventually(() => expect(before.received).toHaveLength(3));
  before[Symbol.dispose]();

  const after = new ScriptedAgent(nodes.b.url, credentials);
  using _ = after;
  after.acknowledges = false;
  after.completes = false;
  await eventually(() => expect(after.received).toHaveLength(1));
  expect(await readCommands(nodes.database.knex, 'breaking')).toMatchObject([
    { status: 'sent', attempt: 2 },
    { status: 'pending', attempt: 1 },
    { status: 'pending', attempt: 1 },
  ]);
  after.frames[0]?.acknowledge({ acknowledged: after.received.map((c) => c.commandId) });

  await eventually(() => expect(after.received).toHaveLength(3));
});

// Properties 31 and 32.
it.each([
  [
    'was alone in flight when five connections broke',
    'delivery_exhausted',
    { status: 'sent', solo_deliveries: 4 },
  ],
  ['was taken by a journal that is lost', 'outcome_unknown', { status: 'acknowledged' }],
])('ends a command that %s, and goes on with the next', async (_, code, state) => {
  const agentId = `resumed-${code}`;
  const credentials = await createTestAgent(nodes.database.knex, agentId);
  await nodes.a.queue.enqueueAgentCommands({ agentId, action: 'ping', payloads: pings(2) });
  await nodes.database
    .knex('agent_commands')
    .where({ agent_id: agentId, seq: 1 })
    .update({ attempt: 5, sent_epoch: 0, ...state });
  await nodes.database
    .knex('agent_queues')
    .where({ agent_id: agentId })
    .update({ journal_id: 'journal-before' });

  using agent = await ScriptedAgent.connect(nodes.b.url, credentials);

  await eventually(async () =>
    expect(await readCommands(nodes.database.knex, agentId)).toMatchObject([
      { status: 'failed', error_code: code, attempt: 5 },
      { status: 'completed' },
    ]),
  );
  expect(agent.received).toHaveLength(1);
});
