import {
  checkInvariants,
  startTestCluster,
  type ClusterAgent,
  type ClusterReplica,
  type TestCluster,
} from '@streamspace/testkit';
import { showFigures } from './figures.ts';

const SETUP_TIMEOUT_MS = 60_000;
const STARTED_WITHIN_MS = 60_000;
const AGENT_BACK_WITHIN_MS = 30_000;
const SESSION_GONE_WITHIN_MS = 60_000;
/** As many as the Go control plane had when it lost them. */
const BACKLOG = 37;

let cluster: TestCluster;
let agent: ClusterAgent;

beforeAll(async () => {
  cluster = await startTestCluster({ agents: 1 });
  agent = cluster.agent('agent-1');
}, SETUP_TIMEOUT_MS);

afterAll(async () => {
  await cluster?.stop();
}, SETUP_TIMEOUT_MS);

async function foreignReplicas(): Promise<readonly [ClusterReplica, ClusterReplica]> {
  const owner = await cluster.replicaOfAgent(agent.agentId);
  const [first, second] = cluster.replicas.filter((replica) => replica !== owner);
  return [first!, second!];
}

it('a session is started through a replica that does not hold the agent; the agent is killed; the stop is accepted, waits, and is carried out when it is back', async () => {
  const [first, second] = await foreignReplicas();
  const { agentId } = agent;
  const createdAt = performance.now();
  const { session, command: start } = await first.api().createSession({ agentId });
  expect((await second.api().waitForCommand(start!.id)).status).toBe('completed');
  expect((await second.api().session(session.id)).state).toBe('running');
  const startedMs = performance.now() - createdAt;

  await agent.kill();
  await second.api().waitForAgent(agentId, 'lost');
  const stoppedAt = performance.now();
  const answer = await second.api().request(`/sessions/${session.id}`, { method: 'DELETE' });
  expect(answer.status).toBe(202);
  expect(answer.body).toMatchObject({
    session: { state: 'terminating' },
    command: { status: 'pending', errorMessage: null, errorCode: null, attempt: 0 },
  });
  const { items } = (await first.api().request(`/commands?sessionId=${session.id}`)).body as {
    items: unknown[];
  };
  expect(items).toContainEqual(
    expect.objectContaining({ action: 'stop_session', status: 'pending', errorMessage: null }),
  );

  const backAt = performance.now();
  await agent.start();
  const backMs = performance.now() - backAt;
  await first.api().waitForSession(session.id, 'terminated');
  const goneMs = performance.now() - stoppedAt;
  showFigures('the story', {
    'started ms': startedMs,
    'agent back ms': backMs,
    'session gone ms': goneMs,
  });
  expect(startedMs).toBeLessThan(STARTED_WITHIN_MS);
  expect(backMs).toBeLessThan(AGENT_BACK_WITHIN_MS);
  expect(goneMs).toBeLessThan(SESSION_GONE_WITHIN_MS);
  expect(agent.sessions()).toEqual([]);
  expect(await checkInvariants(cluster)).toEqual([]);
}, 90_000);

it('37 stops that were asked for while the agent was away are delivered in order', async () => {
  const [first, second] = await foreignReplicas();
  const { agentId } = agent;
  const started = await Promise.all(
    Array.from({ length: BACKLOG }, () => first.api().createSession({ agentId })),
  );
  await Promise.all(started.map(({ command }) => first.api().waitForCommand(command!.id)));
  await agent.kill();
  // Until then its owner may still send into the dead connection.
  await first.api().waitForAgent(agentId, 'lost');
  const queued: string[] = [];
  for (const [index, { session }] of started.entries()) {
    const { command } = await (index % 2 === 0 ? first : second).api().stopSession(session.id);
    queued.push(command!.id);
  }
  expect((await first.api().agent(agentId)).queueLength).toBe(BACKLOG);

  const backAt = performance.now();
  await agent.start();
  const ended = await Promise.all(queued.map((id) => second.api().waitForCommand(id)));
  showFigures('the story', { 'backlog of 37 done after ms': performance.now() - backAt });
  expect(ended.map(({ status, attempt }) => [status, attempt])).toEqual(
    queued.map(() => ['completed', 1]),
  );
  const begun = agent
    .ledger()
    .flatMap((entry) =>
      entry.kind === 'begin' && queued.includes(entry.commandId) ? [entry.commandId] : [],
    );
  expect(begun).toEqual(queued);
  expect(agent.sessions()).toEqual([]);
  expect(await checkInvariants(cluster)).toEqual([]);
}, 90_000);
