import {
  checkInvariants,
  startTestCluster,
  type ClusterAgent,
  type ClusterReplica,
  type TestCluster,
} from '@streamspace/testkit';
import { waitUntil } from '@streamspace/local-stack';
import { Redis } from 'ioredis';
import { showFigures } from './figures.ts';

const SETUP_TIMEOUT_MS = 60_000;

let cluster: TestCluster;
let agent: ClusterAgent;
let redis: Redis;

beforeAll(async () => {
  cluster = await startTestCluster({ agents: 1, network: 'proxied' });
  agent = cluster.agent('agent-1');
  redis = new Redis(cluster.redis.url);
}, SETUP_TIMEOUT_MS);

afterAll(async () => {
  redis?.disconnect();
  await cluster?.stop();
}, SETUP_TIMEOUT_MS);

interface Ownership {
  readonly owner_boot_id: string | null;
  readonly connection_id: string | null;
  readonly connection_epoch: string;
  readonly disconnected_at: Date | null;
}

async function readOwnership(): Promise<Ownership> {
  const [row] = await cluster.database
    .knex<Ownership & { agent_id: string }>('agent_queues')
    .where({ agent_id: agent.agentId })
    .select('owner_boot_id', 'connection_id', 'connection_epoch', 'disconnected_at');
  return row!;
}

/** The agent's process dies behind the black hole, so its old connection says no goodbye; a new one connects. */
async function reconnectElsewhere(old: ClusterReplica): Promise<Ownership> {
  for (;;) {
    const before = await readOwnership();
    agent.network.setFaultOfOpen({ kind: 'black-hole' });
    await agent.kill();
    await agent.start();
    const taken = await waitUntil(
      async () => {
        const now = await readOwnership();
        return Number(now.connection_epoch) > Number(before.connection_epoch) ? now : undefined;
      },
      { what: 'the agent has another connection', intervalMs: 20 },
    );
    // Round robin may choose the old replica once more: then that connection is the old one.
    if ((await nameOf(taken.owner_boot_id)) !== old.name) return taken;
  }
}

async function nameOf(bootId: string | null): Promise<string | undefined> {
  const [name] = await cluster.database
    .knex<{ boot_id: string; name: string }>('replicas')
    .where({ boot_id: bootId ?? '' })
    .pluck('name');
  return name;
}

async function isAnsweredPromptly(): Promise<boolean> {
  return (await cluster.api().request('/templates', { timeoutMs: 500 })).status === 200;
}

/** The load balancer has seen that a replica does not answer. */
async function untilOutOfRotation(): Promise<void> {
  await waitUntil(
    async () => !(await Promise.all(cluster.replicas.map(isAnsweredPromptly))).includes(false),
    { what: 'the frozen replica is out of rotation' },
  );
}

async function readLines(replica: ClusterReplica): Promise<string[]> {
  return (await replica.log()).split('\n');
}

/** The old replica has let go of the connection of `epoch`, as it says itself. */
async function untilNoticed(replica: ClusterReplica, epoch: number): Promise<number> {
  const startedAt = performance.now();
  await waitUntil(
    async () =>
      (await readLines(replica)).some(
        (line) => line.includes('"agent disconnected"') && line.includes(`"epoch":${epoch},`),
      ),
    { what: `${replica.name} has noticed that the connection is gone`, timeoutMs: 20_000 },
  );
  return performance.now() - startedAt;
}

/** Found through Redis as well, and commands go out under its epoch. */
async function expectItServesOn(taken: Ownership): Promise<void> {
  const presence: unknown = JSON.parse((await redis.get(`ss:agent:${agent.agentId}`)) ?? '{}');
  expect(presence).toMatchObject({
    bootId: taken.owner_boot_id,
    epoch: Number(taken.connection_epoch),
  });
  expect((await cluster.api().agent(agent.agentId)).state).toBe('online');
  const { command } = await cluster.api().createSession({ agentId: agent.agentId });
  const ended = await cluster.api().waitForCommand(command!.id);
  expect(ended).toMatchObject({ status: 'completed', attempt: 1 });
  expect(ended.sentEpoch).toBe(Number(taken.connection_epoch));
  expect(await checkInvariants(cluster)).toEqual([]);
}

it('F20: the replica that held the old connection is frozen meanwhile: its late release changes nothing', async () => {
  const old = await cluster.replicaOfAgent(agent.agentId);
  old.freeze();
  await untilOutOfRotation();
  const taken = await reconnectElsewhere(old);
  old.thaw();
  const noticedMs = await untilNoticed(old, Number(taken.connection_epoch) - 1);
  showFigures('F20 frozen', { 'noticed after it was thawed ms': noticedMs });
  expect(await readOwnership()).toEqual(taken);
  await expectItServesOn(taken);
}, 90_000);

it('F20: the old replica does not hear of it through Redis: its sweep closes the connection, and changes nothing', async () => {
  const old = await cluster.replicaOfAgent(agent.agentId);
  old.network.redis.setFault({ kind: 'black-hole' });
  const taken = await reconnectElsewhere(old);
  const noticedMs = await untilNoticed(old, Number(taken.connection_epoch) - 1);
  old.network.redis.setFault({ kind: 'pass' });
  showFigures('F20 without Redis', { 'noticed ms': noticedMs });
  expect(await readOwnership()).toEqual(taken);
  await expectItServesOn(taken);
}, 90_000);
