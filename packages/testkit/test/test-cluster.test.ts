import { isRunning, identifyProcess, type ProcessIdentity } from '@streamspace/local-stack';
import { checkInvariants, startTestCluster, type TestCluster } from '@streamspace/testkit';

// Three replicas and two agents start on as little as two cores.
const START_TIMEOUT_MS = 60_000;

let cluster: TestCluster;

beforeAll(async () => {
  cluster = await startTestCluster({ replicas: 3, agents: 2, network: 'proxied' });
}, START_TIMEOUT_MS);

afterAll(async () => {
  await cluster?.stop();
}, START_TIMEOUT_MS);

it('a session that is asked for at a replica without the agent is started by the agent', async () => {
  const replica = await cluster.replicaWithoutAgent('agent-1');
  const { session, command } = await replica.api().createSession({ agentId: 'agent-1' });
  const ended = await replica.api().waitForCommand(command!.id);
  expect(ended.status).toBe('completed');
  expect(cluster.agent('agent-1').sessions()).toMatchObject([
    { sessionId: session.id, state: 'running' },
  ]);
  expect(await checkInvariants(cluster)).toEqual([]);
});

it('the ledger tells under which epoch the agent was welcomed and took in its commands', async () => {
  const agent = cluster.agent('agent-1');
  const { command } = await cluster.api().createSession({ agentId: agent.agentId });
  const { sentEpoch } = await cluster.api().waitForCommand(command!.id);
  const seen = agent.ledger().filter(({ kind }) => kind === 'welcome' || kind === 'frame');
  expect(seen[0]).toMatchObject({ kind: 'welcome', epoch: sentEpoch });
  expect(seen.at(-1)).toMatchObject({ kind: 'frame', epoch: sentEpoch, commandIds: [command!.id] });
});

it('a killed replica comes back, and its agents are owned again', async () => {
  const owner = await cluster.replicaOfAgent('agent-1');
  await owner.kill();
  expect(owner.pid).toBeUndefined();
  const { command } = await cluster.api().createSession({ agentId: 'agent-1' });
  expect((await cluster.api().waitForCommand(command!.id)).status).toBe('completed');
  await owner.start();
  expect((await cluster.replicaOfAgent('agent-1')).name).not.toBe('');
  expect(await checkInvariants(cluster)).toEqual([]);
});

it('an agent behind a black hole is lost, and back when it is lifted', async () => {
  const agent = cluster.agent('agent-2');
  agent.network.setFault({ kind: 'black-hole' });
  await cluster.api().waitForAgent('agent-2', 'lost');
  agent.network.setFault({ kind: 'pass' });
  expect((await cluster.api().waitForAgent('agent-2', 'online')).state).toBe('online');
});

it('an agent that was killed finds its sessions again', async () => {
  const agent = cluster.agent('agent-2');
  const { command } = await cluster.api().createSession({ agentId: 'agent-2' });
  await cluster.api().waitForCommand(command!.id);
  await agent.kill();
  await agent.start();
  expect(agent.sessions()).toHaveLength(1);
  expect(await checkInvariants(cluster)).toEqual([]);
});

it('a cluster leaves no process and no database', async () => {
  const small = await startTestCluster({ replicas: 1, agents: 1, loadBalancer: false });
  const identities = [...small.replicas, ...small.agents, small.redis].map(
    ({ pid }): ProcessIdentity => identifyProcess(pid!)!,
  );
  await small.stop();
  expect(identities.filter((identity) => isRunning(identity))).toEqual([]);
  const databases = await cluster.database
    .knex('pg_database')
    .where({ datname: small.database.name });
  expect(databases).toEqual([]);
});
