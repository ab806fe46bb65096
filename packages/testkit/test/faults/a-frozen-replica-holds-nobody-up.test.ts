import { setTimeout as delay } from 'node:timers/promises';
import {
  checkInvariants,
  ClusterLoad,
  percentile,
  readCommandLatencies,
  startTestCluster,
  type AgentHost,
  type TestCluster,
} from '@streamspace/testkit';
import { waitUntil } from '@streamspace/local-stack';
import { showFigures } from './figures.ts';

const SETUP_TIMEOUT_MS = 90_000;
const AGENTS = 30;
const FROZEN_MS = 18_000;
/** Requests through the load balancer end before the replica is thawed: what has no answer by then is with it. */
const ANSWERED_WITHIN_MS = 3_000;
const OUT_OF_ROTATION_WITHIN_MS = 3_000;
const OWNED_ELSEWHERE_WITHIN_MS = 12_000;
/** What a request takes on a healthy replica, with room for a busy machine. */
const PROMPT_MS = 1_000;

let cluster: TestCluster;
let host: AgentHost;

beforeAll(async () => {
  cluster = await startTestCluster();
  host = await cluster.addAgentHost('rack', AGENTS);
}, SETUP_TIMEOUT_MS);

afterAll(async () => {
  await cluster?.stop();
}, SETUP_TIMEOUT_MS);

interface Owned {
  readonly agentId: string;
  readonly epoch: number;
  readonly replica: string | null;
}

async function readOwners(): Promise<Owned[]> {
  const rows = await cluster.database
    .knex<{ agent_id: string; connection_epoch: string; name: string | null }>('agent_queues')
    .leftJoin('replicas', 'replicas.boot_id', 'agent_queues.owner_boot_id')
    .select('agent_queues.agent_id', 'agent_queues.connection_epoch', 'replicas.name')
    .orderBy('agent_queues.agent_id');
  return rows.map((row) => ({
    agentId: String(row['agent_id']),
    epoch: Number(row['connection_epoch']),
    replica: row['name'],
  }));
}

/** Asks through the load balancer every 100 ms; says of each request when it was sent and how long it took. */
async function askUntil(isOver: AbortSignal): Promise<{ atMs: number; tookMs: number }[]> {
  const startedAt = performance.now();
  const asked: Promise<{ atMs: number; tookMs: number }>[] = [];
  const ask = async (): Promise<{ atMs: number; tookMs: number }> => {
    const at = performance.now();
    const isOk = await cluster
      .api()
      .request('/templates', { timeoutMs: FROZEN_MS + 20_000 })
      .then(({ status }) => status === 200)
      .catch(() => false);
    const tookMs = isOk ? performance.now() - at : Number.POSITIVE_INFINITY;
    return { atMs: at - startedAt, tookMs };
  };
  while (!isOver.aborted) {
    asked.push(ask());
    await delay(100);
  }
  return Promise.all(asked);
}

it('F5: SIGSTOP of a replica for 18 s disturbs nobody elsewhere; its agents go elsewhere; after SIGCONT nothing is stale', async () => {
  const frozen = cluster.replica('api-2');
  const before = await readOwners();
  const strangers = before.filter(({ replica }) => replica !== frozen.name);
  const others = cluster.replicas.filter((replica) => replica !== frozen);
  const load = new ClusterLoad({
    clients: () => others.map((replica) => replica.api()),
    agentIds: strangers.map(({ agentId }) => agentId),
    startsPerSecond: 10,
  });
  await waitUntil(() => load.sessionCount >= 10, { what: 'the load is on' });

  const frozenAt = new Date();
  const startedAt = performance.now();
  const isOver = new AbortController();
  frozen.freeze();
  const asking = askUntil(isOver.signal);
  await waitUntil(
    async () => (await readOwners()).every(({ replica }) => replica !== frozen.name),
    { what: 'no agent is owned by the frozen replica', timeoutMs: 25_000 },
  );
  const ownedElsewhereMs = performance.now() - startedAt;
  await delay(FROZEN_MS - ANSWERED_WITHIN_MS - (performance.now() - startedAt));
  isOver.abort();
  await delay(ANSWERED_WITHIN_MS);
  const whileFrozen = await readOwners();
  const thawedAt = new Date();
  const frozenMs = performance.now() - startedAt;
  frozen.thaw();
  const asked = await asking;
  // It is back in rotation, and would by now have done what it had in mind when it was frozen.
  await waitUntil(async () => (await frozen.api().request('/templates')).status === 200, {
    what: 'the replica serves again',
  });
  const goal = load.sessionCount + 30;
  await waitUntil(() => load.sessionCount >= goal, { what: 'the load goes on' });
  const { failures } = await load.stop();
  const violations = await checkInvariants(cluster);
  const after = await readOwners();
  const latencies = await readCommandLatencies(cluster.database, {
    from: frozenAt,
    until: thawedAt,
  });

  const held = asked.filter(({ atMs, tookMs }) => atMs + tookMs > frozenMs);
  const outOfRotationMs = Math.max(0, ...held.map(({ atMs }) => atMs));
  showFigures('F5', {
    'commands of others': latencies.length,
    'p50 ms': percentile(latencies, 0.5),
    'p99 ms': percentile(latencies, 0.99),
    'requests through the balancer': asked.length,
    'that met the frozen one': held.length,
    'the last of them after ms': outOfRotationMs,
    'its agents owned elsewhere after ms': ownedElsewhereMs,
  });
  expect(failures).toEqual([]);
  expect(latencies.length).toBeGreaterThan(100);
  expect(percentile(latencies, 0.99)).toBeLessThan(PROMPT_MS);
  expect(outOfRotationMs).toBeLessThan(OUT_OF_ROTATION_WITHIN_MS);
  expect(asked.filter(({ tookMs }) => tookMs === Number.POSITIVE_INFINITY)).toEqual([]);
  expect(ownedElsewhereMs).toBeLessThan(OWNED_ELSEWHERE_WITHIN_MS);
  // Nobody else's connection moved, and the frozen replica took nothing back.
  const epochs = new Map(after.map(({ agentId, epoch }) => [agentId, epoch]));
  expect(strangers.filter(({ agentId, epoch }) => epochs.get(agentId) !== epoch)).toEqual([]);
  expect(after).toEqual(whileFrozen);
  expect(violations).toEqual([]);
  expect(host.exits).toEqual([]);
}, 90_000);
