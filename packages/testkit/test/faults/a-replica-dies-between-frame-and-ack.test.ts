import {
  checkInvariants,
  startTestCluster,
  type ClusterAgent,
  type TestCluster,
} from '@streamspace/testkit';
import { waitUntil } from '@streamspace/local-stack';
import { showFigures } from './figures.ts';

const SETUP_TIMEOUT_MS = 60_000;
const DELIVERED_WITHIN_MS = 5_000;
const COMMANDS = 10;

let cluster: TestCluster;
let agent: ClusterAgent;

beforeAll(async () => {
  cluster = await startTestCluster({ agents: 1, network: 'proxied' });
  agent = cluster.agent('agent-1');
}, SETUP_TIMEOUT_MS);

afterAll(async () => {
  await cluster?.stop();
}, SETUP_TIMEOUT_MS);

afterEach(async () => {
  agent.network.setFault({ kind: 'pass' });
  await Promise.all(cluster.replicas.map((replica) => replica.start()));
});

async function startSessions(): Promise<string[]> {
  const replica = await cluster.replicaWithoutAgent(agent.agentId);
  const accepted = await Promise.all(
    Array.from({ length: COMMANDS }, () => replica.api().createSession({ agentId: agent.agentId })),
  );
  return accepted.map(({ command }) => command!.id);
}

async function countByStatus(commandIds: readonly string[], status: string): Promise<number> {
  const rows = await cluster.database
    .knex('agent_commands')
    .whereIn('command_id', [...commandIds])
    .where({ status });
  return rows.length;
}

function countEffects(commandIds: readonly string[]): number {
  return agent
    .ledger()
    .filter((entry) => entry.kind === 'effect' && commandIds.includes(entry.commandId)).length;
}

/** Kills the owner, lets the network pass again, and measures from the agent's return to the last ending. */
async function killOwnerAndSettle(
  commandIds: readonly string[],
): Promise<{ settledMs: number; backMs: number }> {
  const owner = await cluster.replicaOfAgent(agent.agentId);
  const epochBefore = (await cluster.api().agent(agent.agentId)).connectionEpoch;
  const killedAt = performance.now();
  await owner.kill();
  // What the network still holds is lost with the connection.
  agent.network.reset();
  agent.network.setFault({ kind: 'pass' });
  await waitUntil(
    async () => {
      const { state, connectionEpoch } = await cluster.api().agent(agent.agentId);
      return state === 'online' && connectionEpoch > epochBefore;
    },
    { what: 'the agent is back', timeoutMs: 20_000, intervalMs: 20 },
  );
  const backAt = performance.now();
  await waitUntil(async () => (await countByStatus(commandIds, 'completed')) === COMMANDS, {
    what: 'every command is completed',
    timeoutMs: 20_000,
    intervalMs: 20,
  });
  return { settledMs: performance.now() - backAt, backMs: backAt - killedAt };
}

it('F3: commands that were carried out, their acks and results lost with the owner, are settled by the next one with one effect', async () => {
  agent.network.setFault({ kind: 'black-hole' }, 'to-target');
  const commandIds = await startSessions();
  await waitUntil(() => countEffects(commandIds) === COMMANDS, {
    what: 'the agent has carried them out',
  });
  expect(await countByStatus(commandIds, 'sent')).toBe(COMMANDS);
  const { settledMs, backMs } = await killOwnerAndSettle(commandIds);

  showFigures('F3 ack lost', { 'agent back ms': backMs, 'settled after that ms': settledMs });
  expect(settledMs).toBeLessThan(DELIVERED_WITHIN_MS);
  expect(countEffects(commandIds)).toBe(COMMANDS);
  expect(await checkInvariants(cluster)).toEqual([]);
}, 60_000);

it('F3: commands whose frame was emitted and never arrived are delivered by the next owner, once', async () => {
  agent.network.setFault({ kind: 'black-hole' }, 'to-client');
  const commandIds = await startSessions();
  await waitUntil(async () => (await countByStatus(commandIds, 'sent')) === COMMANDS, {
    what: 'the owner has sent them',
  });
  expect(countEffects(commandIds)).toBe(0);
  const { settledMs, backMs } = await killOwnerAndSettle(commandIds);

  const attempts = await cluster.database
    .knex<{ attempt: number }>('agent_commands')
    .whereIn('command_id', commandIds)
    .pluck('attempt');
  showFigures('F3 frame lost', { 'agent back ms': backMs, 'delivered after that ms': settledMs });
  expect(settledMs).toBeLessThan(DELIVERED_WITHIN_MS);
  expect(countEffects(commandIds)).toBe(COMMANDS);
  expect(new Set(attempts)).toEqual(new Set([2]));
  expect(await checkInvariants(cluster)).toEqual([]);
}, 60_000);
