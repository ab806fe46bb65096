import { ScriptedAgent } from './scripted-agent.ts';
import { createTestAgent, eventually, readCommands } from './test-node.ts';
import { pings, startTwoNodes, type TwoNodes } from './two-nodes.ts';

let nodes: TwoNodes;

beforeAll(async () => {
  nodes = await startTwoNodes();
});

afterAll(() => nodes[Symbol.asyncDispose]());

it('ends a command for one unreadable result without harming the others of the batch', async () => {
  const credentials = await createTestAgent(nodes.database.knex, 'garbled');
  const agent = new ScriptedAgent(nodes.a.url, credentials);
  using _ = agent;
  agent.completes = false;
  await nodes.a.queue.enqueueAgentCommands({
    agentId: 'garbled',
    action: 'ping',
    payloads: pings(4),
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
  expect(await readCommands(nodes.database.knex, 'garbled')).toMatchObject([
    { status: 'completed', result: { text: 'a\uFFFDb\uFFFD' } },
    { status: 'failed', error_code: 'result_unreadable' },
    { status: 'completed' },
    { status: 'failed', error_code: 'boom', error_message: 'it\uFFFDbroke' },
  ]);
});

it('lets no agent end a command of another', async () => {
  const thief = await createTestAgent(nodes.database.knex, 'thief');
  await createTestAgent(nodes.database.knex, 'owner');
  await nodes.a.queue.enqueueAgentCommands({ agentId: 'owner', action: 'ping' });
  const [command] = await readCommands(nodes.database.knex, 'owner');
  using agent = await ScriptedAgent.connect(nodes.a.url, thief);

  await agent.report([
    { commandId: command?.command_id ?? '', attempt: 1, outcome: { status: 'completed' } },
  ]);

  expect(await readCommands(nodes.database.knex, 'owner')).toMatchObject([{ status: 'pending' }]);
});

it('keeps the first ending, whatever is said afterwards', async () => {
  const credentials = await createTestAgent(nodes.database.knex, 'repeating');
  using agent = await ScriptedAgent.connect(nodes.a.url, credentials);
  await nodes.a.queue.enqueueAgentCommands({ agentId: 'repeating', action: 'ping' });
  await eventually(async () =>
    expect(await readCommands(nodes.database.knex, 'repeating')).toMatchObject([
      { status: 'completed' },
    ]),
  );
  const [command] = agent.received;
  const late = {
    commandId: command?.commandId ?? '',
    attempt: 1,
    outcome: { status: 'failed', errorCode: 'late' },
  };

  await Promise.all([agent.report([late]), agent.report([late]), agent.report([late])]);

  expect(await readCommands(nodes.database.knex, 'repeating')).toMatchObject([
    { status: 'completed' },
  ]);
});

it('asks for a cancellation until the command ends, and the truth wins', async () => {
  const credentials = await createTestAgent(nodes.database.knex, 'cancelled');
  const agent = new ScriptedAgent(nodes.a.url, credentials);
  using _ = agent;
  agent.completes = false;
  await nodes.b.queue.enqueueAgentCommands({ agentId: 'cancelled', action: 'ping' });
  await eventually(async () =>
    expect(await readCommands(nodes.database.knex, 'cancelled')).toMatchObject([
      { status: 'acknowledged' },
    ]),
  );
  const commandId = agent.received[0]?.commandId ?? '';

  expect(await nodes.b.queue.cancel(commandId)).toMatchObject({ kind: 'accepted' });
  await eventually(() => expect(agent.cancelled.length).toBeGreaterThan(1));
  await agent.complete(agent.received);

  expect(await readCommands(nodes.database.knex, 'cancelled')).toMatchObject([
    { status: 'completed' },
  ]);
  expect(await nodes.b.queue.cancel(commandId)).toMatchObject({ kind: 'ended' });
});
