import { ScriptedAgent } from './scripted-agent.ts';
import { createTestAgent, eventually, readCommands } from './test-node.ts';
import { pings, startTwoNodes, type TwoNodes } from './two-nodes.ts';

let nodes: TwoNodes;

beforeAll(async () => {
  nodes = await startTwoNodes();
});

afterAll(() => nodes[Symbol.asyncDispose]());

it('ignores acks and statuses of an older connection and takes its results', async () => {
  const credentials = await createTestAgent(nodes.database.knex, 'taken-over');
  const older = new ScriptedAgent(nodes.a.url, credentials);
  older.acknowledges = false;
  older.completes = false;
  await nodes.a.queue.enqueueAgentCommands({
    agentId: 'taken-over',
    action: 'ping',
    payloads: pings(2),
  });
  await eventually(() => expect(older.received).toHaveLength(2));
  const [first, second] = older.received.map((command) => command.commandId) as [string, string];
  // The old owner does not hear of the new epoch: as if its replica were frozen for a moment.
  await nodes.database.knex.raw(
    `select mint_epoch('{"agentId":"taken-over","bootId":"elsewhere","connectionId":"c","keyId":"k",
      "highestEpoch":0,"instanceId":"instance-1","journalId":"journal-1"}')`,
  );
  await nodes.database.knex.raw(
    `select settle_resumed('{"agentId":"taken-over","epoch":2,"held":[],"unknown":["${first}","${second}"],
      "alone":0,"journalChanged":false}')`,
  );

  older.frames[0]?.acknowledge({ acknowledged: [first, second] });
  await older.report([{ commandId: second, attempt: 1, outcome: { status: 'completed' } }]);

  expect(await readCommands(nodes.database.knex, 'taken-over')).toMatchObject([
    { status: 'pending', attempt: 1 },
    { status: 'completed' },
  ]);
  older[Symbol.dispose]();
});

it('closes a connection whose epoch is no longer current, though nobody told it', async () => {
  const credentials = await createTestAgent(nodes.database.knex, 'unaware');
  using agent = await ScriptedAgent.connect(nodes.a.url, credentials);
  await nodes.database
    .knex('agent_queues')
    .where({ agent_id: 'unaware' })
    .update({ connection_epoch: 9 });

  await eventually(() => expect(agent.socket.connected).toBe(false));

  expect(agent.closings).toMatchObject([{ code: 'superseded' }]);
});

it('hands out an epoch above the highest that the agent has seen', async () => {
  const credentials = await createTestAgent(nodes.database.knex, 'ahead');
  using agent = await ScriptedAgent.connect(nodes.a.url, { ...credentials, highestEpoch: 40 });
  expect(agent.epoch).toBe(41);
});

it.each([
  ['a wrong key', { key: 'wrong' }, 'unauthorized'],
  ['another protocol', { protocolVersion: 99 }, 'unsupported_protocol'],
  ['no instance', { instanceId: '' }, 'invalid_hello'],
])('refuses an agent with %s, and says so', async (_, hello, code) => {
  const agentId = `refused-${code}`;
  const credentials = await createTestAgent(nodes.database.knex, agentId);
  await expect(
    ScriptedAgent.connect(nodes.a.url, { ...credentials, ...hello }),
  ).rejects.toMatchObject({
    code,
  });
});

it('refuses an unknown agent with the words that a wrong key gets', async () => {
  await expect(
    ScriptedAgent.connect(nodes.a.url, { agentId: 'nobody', key: 'x' }),
  ).rejects.toMatchObject({ code: 'unauthorized' });
});

it('sends nothing to an agent whose key was revoked, and cuts it off', async () => {
  const credentials = await createTestAgent(nodes.database.knex, 'revoked');
  using agent = await ScriptedAgent.connect(nodes.a.url, credentials);
  await nodes.database.knex('agent_keys').where({ agent_id: 'revoked' }).delete();

  await eventually(() => expect(agent.socket.connected).toBe(false));

  expect(agent.closings).toMatchObject([{ code: 'key_revoked' }]);
});

it('asks an agent through another replica, and says when it is away', async () => {
  const credentials = await createTestAgent(nodes.database.knex, 'asked');
  const agent = await ScriptedAgent.connect(nodes.a.url, credentials);
  await expect(nodes.b.hub.request('asked', 'ping', {}, { timeoutMs: 2000 })).resolves.toEqual({
    ok: true,
    payload: { pong: true },
  });
  agent[Symbol.dispose]();
  await eventually(async () =>
    expect(await nodes.b.hub.request('asked', 'ping', {}, { timeoutMs: 500 })).toMatchObject({
      ok: false,
      code: 'agent_away',
    }),
  );
});

it('keeps one of two hosts that share an identity, and says so in its record', async () => {
  const credentials = await createTestAgent(nodes.database.knex, 'twins');
  const one = { ...credentials, instanceId: 'one' };
  const two = { ...credentials, instanceId: 'two' };
  const opened: ScriptedAgent[] = [];
  opened.push(await ScriptedAgent.connect(nodes.a.url, one));
  opened.push(await ScriptedAgent.connect(nodes.b.url, two));
  opened.push(await ScriptedAgent.connect(nodes.a.url, one));

  await expect(ScriptedAgent.connect(nodes.b.url, two)).rejects.toMatchObject({
    code: 'duplicate_identity',
  });

  expect(opened[2]?.socket.connected).toBe(true);
  expect(
    await nodes.database.knex('agents').where({ agent_id: 'twins' }).first('notice_code'),
  ).toEqual({
    notice_code: 'duplicate_identity',
  });
  for (const agent of opened) agent[Symbol.dispose]();
});
