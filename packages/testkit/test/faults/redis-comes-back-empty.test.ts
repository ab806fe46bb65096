import { setTimeout as delay } from 'node:timers/promises';
import {
  checkInvariants,
  ClusterLoad,
  percentile,
  readCommandLatencies,
  startTestCluster,
  type AgentHost,
  type LoadSummary,
  type TestCluster,
} from '@streamspace/testkit';
import { waitUntil } from '@streamspace/local-stack';
import { Redis } from 'ioredis';
import { showFigures } from './figures.ts';

const SETUP_TIMEOUT_MS = 60_000;
const AGENTS = 30;
const AWAY_MS = 2_000;
const SLOWEST_MEANWHILE_MS = 5_000;
const NORMAL_AFTER_MS = 10_000;
/** Work that goes by polling takes up to 2 s, evenly spread. */
const NORMAL_MS = 1_000;

let cluster: TestCluster;
let host: AgentHost;

beforeAll(async () => {
  cluster = await startTestCluster();
  host = await cluster.addAgentHost('rack', AGENTS);
}, SETUP_TIMEOUT_MS);

afterAll(async () => {
  await cluster?.stop();
}, SETUP_TIMEOUT_MS);

/** Every agent's connection, before and after: Redis is nothing that one depends on. */
async function readEpochs(): Promise<string[]> {
  return cluster.database.knex('agent_queues').orderBy('agent_id').pluck('connection_epoch');
}

interface Measured extends LoadSummary {
  readonly before: number[];
  readonly meanwhile: number[];
  readonly after: number[];
}

/** Load before, during and after a fault; `breakRedis` resolves when Redis is there again. */
async function measureUnderLoad(breakRedis: () => Promise<void>): Promise<Measured> {
  const load = new ClusterLoad({
    clients: () => cluster.replicas.map((replica) => replica.api()),
    agentIds: host.agents.map(({ agentId }) => agentId),
    startsPerSecond: 15,
  });
  const startedAt = new Date();
  await waitUntil(() => load.sessionCount >= 30, { what: 'the load is on' });
  const brokenAt = new Date();
  await breakRedis();
  const backAt = Date.now();
  // The window that is given to come back to normal, and one to look at after it.
  await delay(NORMAL_AFTER_MS);
  const normalAt = new Date(backAt + NORMAL_AFTER_MS);
  const goal = load.sessionCount + 45;
  await waitUntil(() => load.sessionCount >= goal, { what: 'the load goes on' });
  const summary = await load.stop();
  const violations = await checkInvariants(cluster);
  expect(violations).toEqual([]);
  const { database } = cluster;
  return {
    ...summary,
    before: await readCommandLatencies(database, { from: startedAt, until: brokenAt }),
    meanwhile: await readCommandLatencies(database, { from: brokenAt, until: normalAt }),
    after: await readCommandLatencies(database, { from: normalAt }),
  };
}

function show(fault: string, { before, meanwhile, after, failures, requests }: Measured): void {
  showFigures(fault, {
    requests,
    failed: failures.length,
    'p99 before ms': percentile(before, 0.99),
    'p50 meanwhile ms': percentile(meanwhile, 0.5),
    'p99 meanwhile ms': percentile(meanwhile, 0.99),
    'p99 after ms': percentile(after, 0.99),
  });
}

function expectNothingLost({ meanwhile, after, failures }: Measured): void {
  expect(failures).toEqual([]);
  expect(meanwhile.length).toBeGreaterThan(100);
  expect(percentile(meanwhile, 0.99)).toBeLessThan(SLOWEST_MEANWHILE_MS);
  expect(percentile(after, 0.95)).toBeLessThan(NORMAL_MS);
}

it('F8: Redis is killed under load and back, empty, after 2 s: nothing is lost, work goes on by polling, and is at speed again within 10 s', async () => {
  const epochs = await readEpochs();
  const measured = await measureUnderLoad(async () => {
    cluster.redis.kill();
    await cluster.redis.process.waitForExit();
    await delay(AWAY_MS);
    await cluster.redis.start();
  });
  show('F8', measured);
  expectNothingLost(measured);
  expect(await readEpochs()).toEqual(epochs);
}, 90_000);

it('F13: FLUSHALL under load: nothing is lost, and every agent is in the address book again within 10 s', async () => {
  const epochs = await readEpochs();
  const redis = new Redis(cluster.redis.url);
  try {
    const measured = await measureUnderLoad(async () => {
      await redis.flushall();
    });
    show('F13', measured);
    expectNothingLost(measured);
    expect(await redis.keys('ss:agent:*')).toHaveLength(AGENTS);
    expect(await redis.keys('ss:replica:*')).toHaveLength(cluster.replicas.length);
  } finally {
    redis.disconnect();
  }
  expect(await readEpochs()).toEqual(epochs);
}, 90_000);
