import { setTimeout as delay } from 'node:timers/promises';
import {
  checkInvariants,
  ledgerVariables,
  startTestCluster,
  type ClusterAgent,
  type ClusterClient,
  type TestCluster,
} from '@streamspace/testkit';
import { waitUntil } from '@streamspace/local-stack';
import { showFigures } from './figures.ts';

const SETUP_TIMEOUT_MS = 60_000;
const PAIRS = 60;
const APART_MS = 5;

let cluster: TestCluster;
let agent: ClusterAgent;

beforeAll(async () => {
  cluster = await startTestCluster({ agents: 1, network: 'proxied' });
  agent = cluster.agent('agent-1');
}, SETUP_TIMEOUT_MS);

afterAll(async () => {
  await cluster?.stop();
}, SETUP_TIMEOUT_MS);

afterEach(() => agent.network.setFault({ kind: 'pass' }));

function otherThan(index: number): ClusterClient {
  const { replicas } = cluster;
  const step = 1 + Math.floor(Math.random() * (replicas.length - 1));
  return replicas[(index + step) % replicas.length]!.api();
}

/** A start through one replica and, 5 ms after its answer, the stop through another. */
async function startAndStop(startDelayMs: number): Promise<string> {
  const index = Math.floor(Math.random() * cluster.replicas.length);
  const { session } = await cluster.replicas[index]!.api().createSession({
    agentId: agent.agentId,
    env: { [ledgerVariables.startDelayMs]: String(startDelayMs) },
  });
  await delay(APART_MS);
  await otherThan(index).stopSession(session.id);
  return session.id;
}

/** Pairs of a start that takes nothing, some milliseconds, or longer than its stop takes to come. */
async function startAndStopMany(): Promise<string[]> {
  const sessionIds: string[] = [];
  for (let n = 0; n < PAIRS; n += 6)
    sessionIds.push(
      ...(await Promise.all([0, 0, 5, 10, 50, 500].map((delayMs) => startAndStop(delayMs)))),
    );
  return sessionIds;
}

async function expectAllGone(what: string, sessionIds: readonly string[]): Promise<void> {
  const states = async (): Promise<string[]> =>
    cluster.database
      .knex('sessions')
      .whereIn('id', [...sessionIds])
      .pluck('state');
  await waitUntil(async () => (await states()).every((state) => state === 'terminated'), {
    what: 'every session is terminated',
    timeoutMs: 20_000,
  });
  const rows = await cluster.database
    .knex('agent_commands')
    .whereIn('session_id', [...sessionIds])
    .select<{ action: string; status: string }[]>('action', 'status');
  const count = (action: string, status: string): number =>
    rows.filter((row) => row.action === action && row.status === status).length;
  showFigures(`F23 ${what}`, {
    pairs: sessionIds.length,
    'starts carried out': count('start_session', 'completed'),
    'starts cancelled': count('start_session', 'cancelled'),
    'stops carried out': count('stop_session', 'completed'),
  });
  expect(sessionIds).toHaveLength(PAIRS);
  expect(await checkInvariants(cluster)).toEqual([]);
  // Not a moment's truth: what comes late finds nothing to resurrect.
  expect(agent.sessions()).toEqual([]);
}

it('F23: the agent is there: each session ends terminated, and nothing runs', async () => {
  const sessionIds = await startAndStopMany();
  await expectAllGone('at once', sessionIds);
  expect(sessionIds).not.toEqual([]);
}, 60_000);

it('F23: the agent hears of all this late: each session ends terminated, and nothing runs', async () => {
  agent.network.setFault({ kind: 'delay', ms: 300 });
  const sessionIds = await startAndStopMany();
  await expectAllGone('300 ms late', sessionIds);
  expect(sessionIds).not.toEqual([]);
}, 60_000);

it('F23: start and stop wait together for an agent that is away: each session ends terminated, and nothing runs', async () => {
  await agent.kill();
  // Until then its owner may still send into the dead connection.
  await cluster.api().waitForAgent(agent.agentId, 'lost');
  const sessionIds = await startAndStopMany();
  await agent.start();
  await expectAllGone('agent away', sessionIds);
  // No start had been sent: each ended together with its stop, and the agent heard of neither.
  const begun = agent
    .ledger()
    .filter((entry) => entry.kind === 'begin' && sessionIds.includes(entry.sessionId));
  expect(begun).toEqual([]);
}, 60_000);
