import {
  checkInvariants,
  startTestCluster,
  type ClusterAgent,
  type TestCluster,
} from '@streamspace/testkit';
import { waitUntil } from '@streamspace/local-stack';
import { showFigures } from './figures.ts';

const SETUP_TIMEOUT_MS = 60_000;
const LOST_WITHIN_MS = 12_000;
const COMMANDS = 20;

let cluster: TestCluster;
let agent: ClusterAgent;

beforeAll(async () => {
  cluster = await startTestCluster({ agents: 1, network: 'proxied' });
  agent = cluster.agent('agent-1');
}, SETUP_TIMEOUT_MS);

afterAll(async () => {
  await cluster?.stop();
}, SETUP_TIMEOUT_MS);

it('F19: an agent whose network swallows everything is lost within 12 s; back, it has one owner and each command that waited once', async () => {
  const { agentId } = agent;
  const foreign = await cluster.replicaWithoutAgent(agentId);
  const running = await Promise.all(
    Array.from({ length: COMMANDS }, () => foreign.api().createSession({ agentId })),
  );
  await Promise.all(running.map(({ command }) => foreign.api().waitForCommand(command!.id)));

  const cutAt = performance.now();
  agent.network.setFault({ kind: 'black-hole' });
  // Some are sent into the black hole, and some are asked for when the agent is known to be away.
  const early = await Promise.all(
    running.slice(0, COMMANDS / 2).map(({ session }) => foreign.api().stopSession(session.id)),
  );
  await foreign.api().waitForAgent(agentId, 'lost');
  const lostMs = performance.now() - cutAt;
  const late = await Promise.all(
    running.slice(COMMANDS / 2).map(({ session }) => foreign.api().stopSession(session.id)),
  );
  const queued = [...early, ...late].map(({ command }) => command!);
  const { replica, queueLength } = await foreign.api().agent(agentId);
  expect(replica).toBeNull();
  expect(queueLength).toBe(COMMANDS);
  for (const { id } of late.map(({ command }) => command!))
    expect(await foreign.api().command(id)).toMatchObject({
      status: 'pending',
      errorMessage: null,
      attempt: 0,
    });

  // What was held arrives late, too: from connections that nobody owns any more.
  const passedAt = performance.now();
  agent.network.setFault({ kind: 'pass' });
  await foreign.api().waitForAgent(agentId, 'online');
  const backMs = performance.now() - passedAt;
  const ended = await Promise.all(queued.map(({ id }) => foreign.api().waitForCommand(id)));
  const doneMs = performance.now() - passedAt;
  showFigures('F19', { 'lost ms': lostMs, 'back ms': backMs, 'all delivered ms': doneMs });

  expect(lostMs).toBeLessThan(LOST_WITHIN_MS);
  expect(new Set(ended.map(({ status }) => status))).toEqual(new Set(['completed']));
  const effects = agent
    .ledger()
    .filter((entry) => entry.kind === 'effect' && entry.action === 'stop');
  expect(effects).toHaveLength(COMMANDS);
  await expectOneOwner(agentId);
  expect(agent.sessions()).toEqual([]);
  expect(await checkInvariants(cluster)).toEqual([]);
}, 90_000);

/** Of all replicas one has the agent's connection, and it is the one that Postgres names. */
async function expectOneOwner(agentId: string): Promise<void> {
  const owner = await cluster.replicaOfAgent(agentId);
  const connections = async (): Promise<Record<string, number>> =>
    Object.fromEntries(
      await Promise.all(
        cluster.replicas.map(async ({ name, url }): Promise<[string, number]> => {
          const metrics = await (await fetch(`${url}/metrics`)).text();
          const [, count] = /^streamspace_agent_connections(?:\{[^}]*\})? (\d+)$/m.exec(metrics)!;
          return [name, Number(count)];
        }),
      ),
    );
  const expected = Object.fromEntries(
    cluster.replicas.map(({ name }) => [name, name === owner.name ? 1 : 0]),
  );
  await waitUntil(async () => JSON.stringify(await connections()) === JSON.stringify(expected), {
    what: `only ${owner.name} holds a connection`,
  });
}
