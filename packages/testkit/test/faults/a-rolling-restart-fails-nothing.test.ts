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

const SETUP_TIMEOUT_MS = 60_000;
const AGENTS = 20;
const UNOWNED_AT_MOST_MS = 2_000;
const SAMPLE_EVERY_MS = 100;
const EXIT_WITHIN_MS = 30_000;

let cluster: TestCluster;
let host: AgentHost;

beforeAll(async () => {
  // Shorter than in production, and still longer than the load balancer needs to see that a replica is not ready.
  cluster = await startTestCluster({ env: { DRAIN_DELAY: '2', DRAIN_WINDOW: '4' } });
  host = await cluster.addAgentHost('rack', AGENTS);
}, SETUP_TIMEOUT_MS);

afterAll(async () => {
  await cluster?.stop();
}, SETUP_TIMEOUT_MS);

/** The connection epoch of each agent, without those that this replica has. */
async function readEpochs(without = ''): Promise<[string, string][]> {
  const rows = await cluster.database
    .knex('agent_queues')
    .join('replicas', 'replicas.boot_id', 'agent_queues.owner_boot_id')
    .whereNot('replicas.name', without)
    .select<{ agent_id: string; connection_epoch: string }[]>('agent_id', 'connection_epoch');
  return rows.map(({ agent_id, connection_epoch }) => [agent_id, connection_epoch]);
}

/** Looks at all agents until it is stopped; the longest time that one was seen without a living owner. */
async function watchOwners(isOver: AbortSignal): Promise<{ samples: number; longestMs: number }> {
  const unownedSince = new Map<string, number>();
  let longestMs = 0;
  let samples = 0;
  while (!isOver.aborted) {
    const now = performance.now();
    const states = await cluster.database
      .knex<{ agent_id: string; state: string }>('agent_states')
      .select('agent_id', 'state');
    for (const { agent_id, state } of states) {
      if (state === 'online') unownedSince.delete(agent_id);
      else if (!unownedSince.has(agent_id)) unownedSince.set(agent_id, now);
      longestMs = Math.max(longestMs, performance.now() - (unownedSince.get(agent_id) ?? Infinity));
    }
    samples += 1;
    await delay(SAMPLE_EVERY_MS);
  }
  return { samples, longestMs };
}

it('all replicas are restarted one after the other under load: no request and no command fails, and no agent is unowned for 2 s', async () => {
  const load = new ClusterLoad({
    clients: () => [cluster.api()],
    startsPerSecond: 15,
  });
  await waitUntil(() => load.sessionCount >= 20, { what: 'the load is on' });
  const isOver = new AbortController();
  const watching = watchOwners(isOver.signal);
  const exitMs: number[] = [];
  const disturbed: [string, string][] = [];
  for (const replica of cluster.replicas) {
    const strangers = await readEpochs(replica.name);
    const startedAt = performance.now();
    await replica.stop(EXIT_WITHIN_MS);
    exitMs.push(performance.now() - startedAt);
    const epochs = new Map(await readEpochs());
    disturbed.push(...strangers.filter(([agentId, epoch]) => epochs.get(agentId) !== epoch));
    await replica.start();
    // The load balancer gives it requests before the next one goes.
    await delay(1_500);
  }
  isOver.abort();
  const { longestMs, samples } = await watching;
  const { failures, requests } = await load.stop();
  const violations = await checkInvariants(cluster);
  const latencies = await readCommandLatencies(cluster.database);
  const statuses = await cluster.database
    .knex<{ status: string }>('agent_commands')
    .pluck<string[]>('status');
  showFigures('rolling restart', {
    agents: AGENTS,
    requests,
    failed: failures.length,
    commands: statuses.length,
    cancelled: statuses.filter((status) => status === 'cancelled').length,
    'moved though not asked to': disturbed.length,
    'p99 ms': percentile(latencies, 0.99),
    'slowest ms': percentile(latencies, 1),
    'longest unowned ms': longestMs,
    samples,
    'exits after ms': exitMs.map((ms) => Math.round(ms)).join(' / '),
  });

  expect(failures).toEqual([]);
  // A start whose stop came first is cancelled, which is what was asked for.
  expect(statuses.filter((status) => status !== 'completed' && status !== 'cancelled')).toEqual([]);
  expect(disturbed).toEqual([]);
  expect(longestMs).toBeLessThan(UNOWNED_AT_MOST_MS);
  expect(cluster.replicas.flatMap(({ exits }) => exits)).toMatchObject(
    cluster.replicas.map(() => ({ code: 0, signal: null })),
  );
  expect(host.exits).toEqual([]);
  expect(violations).toEqual([]);
}, 120_000);
