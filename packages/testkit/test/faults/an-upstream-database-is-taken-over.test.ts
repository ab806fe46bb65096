import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connectForMigration, migrateToLatest } from '@streamspace/database';
import { commandPageSchema, type Command } from '@streamspace/protocol';
import {
  checkInvariants,
  createTestDatabase,
  loadUpstreamDatabase,
  startTestCluster,
  upstream,
  type ClusterAgent,
  type LedgerEntry,
  type TestCluster,
} from '@streamspace/testkit';
import { showFigures } from './figures.ts';

const SETUP_TIMEOUT_MS = 60_000;
/** Of the 45 sessions of that agent: 37 are to be stopped, four run, one hibernates, three have ended. */
const RUNNING = 41;
const HIBERNATED = 42;

let cluster: TestCluster;
let agent: ClusterAgent;

beforeAll(async () => {
  const database = await createTestDatabase({ isEmpty: true });
  await loadUpstreamDatabase(database.knex);
  const migrator = connectForMigration({ url: database.url, applicationName: 'migrator' });
  await migrateToLatest(migrator);
  await migrator.destroy();
  cluster = await startTestCluster({ database });
}, SETUP_TIMEOUT_MS);

afterAll(async () => {
  await cluster?.stop();
}, SETUP_TIMEOUT_MS);

function effect(action: 'start' | 'hibernate', n: number): LedgerEntry {
  return {
    kind: 'effect',
    action,
    sessionId: upstream.stoppingSession(n),
    generation: 1,
    commandId: `made-by-go-${n}`,
    epoch: 0,
    at: 0,
    pid: 0,
  };
}

/** What the agent itself still has of the time before: its sessions run on, whoever controls it. */
function writeWhatRuns(directory: string): void {
  const entries = Array.from({ length: HIBERNATED }, (_, index) => effect('start', index + 1));
  mkdirSync(directory, { recursive: true });
  writeFileSync(
    join(directory, 'ledger.jsonl'),
    [...entries, effect('hibernate', HIBERNATED)]
      .map((entry) => `${JSON.stringify(entry)}\n`)
      .join(''),
  );
}

async function listCommands(): Promise<Map<string, Command>> {
  const commands = new Map<string, Command>();
  let cursor: string | null = '';
  do {
    const { body } = await cluster
      .api()
      .request(`/commands?limit=20${cursor && `&cursor=${cursor}`}`);
    const page = commandPageSchema.parse(body);
    for (const command of page.items) commands.set(command.id, command);
    cursor = page.nextCursor;
  } while (cursor !== null);
  return commands;
}

it('shows every command before any agent has come, the odd ones too', async () => {
  const commands = await listCommands();
  expect(commands.size).toBe(upstream.pendingStops + Object.keys(upstream.odd).length);
  expect(commands.get(upstream.odd.failed)).toMatchObject({
    status: 'failed',
    sessionId: null,
    errorMessage: 'agent is not connected',
    completedAt: null,
  });
  expect(commands.get(upstream.odd.sentStart)).toMatchObject({ status: 'sent', attempt: 1 });
  expect(commands.get(upstream.odd.acknowledgedStop)).toMatchObject({ status: 'acknowledged' });
  expect(commands.get(upstream.odd.completed)).toMatchObject({
    status: 'completed',
    completedAt: '2025-07-01T07:03:09.123Z',
  });
  expect(commands.get(upstream.stopWithoutSessionId)).toMatchObject({
    status: 'pending',
    sessionId: upstream.stoppingSession(20),
    errorMessage: null,
  });
});

it('delivers the 37 pending stops in order when the agent comes with a new key, and gives their room back', async () => {
  expect((await cluster.api().agent(upstream.agentId)).load.sessions).toBe(RUNNING);
  const queued = [...(await listCommands()).values()]
    .filter(
      ({ agentId, completedAt, seq }) =>
        agentId === upstream.agentId && completedAt === null && seq !== null,
    )
    .toSorted((a, b) => Number(a.seq) - Number(b.seq));
  expect(queued).toHaveLength(upstream.pendingStops + 1);
  const times = queued.map(({ createdAt }) => createdAt);
  expect(times).toEqual(times.toSorted());

  writeWhatRuns(cluster.agentDataDir(upstream.agentId));
  const comesAt = performance.now();
  agent = await cluster.addAgent(upstream.agentId, {
    AGENT_PLATFORM: 'kubernetes',
    MAX_SESSIONS: '60',
  });
  const onlineMs = performance.now() - comesAt;
  const ended = await Promise.all(queued.map(({ id }) => cluster.api().waitForCommand(id)));
  showFigures('takeover', {
    'agent online ms': onlineMs,
    'all stops done ms': performance.now() - comesAt,
  });
  expect(ended.map(({ status }) => status)).toEqual(queued.map(() => 'completed'));
  const begun = agent
    .ledger()
    .flatMap((entry) => (entry.kind === 'begin' ? [entry.commandId] : []));
  expect(begun).toEqual(queued.map(({ id }) => id));

  const states = await cluster.database
    .knex('sessions')
    .where('id', '<=', upstream.stoppingSession(upstream.pendingStops))
    .pluck('state');
  expect(states).toEqual(Array.from({ length: upstream.pendingStops }, () => 'terminated'));
  expect(agent.sessions()).toHaveLength(HIBERNATED - upstream.pendingStops);
  expect((await cluster.api().agent(upstream.agentId)).load.sessions).toBe(
    RUNNING - upstream.pendingStops,
  );
  expect(await cluster.database.knex.raw('select recount_room()')).toMatchObject({ rowCount: 0 });
}, 60_000);

it('ends what had been sent to an agent that knows nothing of it, and what never had an agent', async () => {
  await cluster.addAgent(upstream.idleAgentId, { AGENT_PLATFORM: 'docker' });
  const sent = await cluster.api().waitForCommand(upstream.odd.sentStart);
  expect(sent.status).toBe('failed');
  expect(sent.errorMessage).not.toBeNull();
  const { status } = await cluster
    .api()
    .request('/sessions/without-an-agent', { method: 'DELETE' });
  expect([200, 202]).toContain(status);
  await cluster.api().waitForSession('without-an-agent', 'terminated');
  expect(await checkInvariants(cluster)).toEqual([]);
}, 60_000);

it('stops what runs since the old days, though its resources are none that can be read', async () => {
  const survivor = upstream.stoppingSession(RUNNING);
  const { command } = await cluster.api().stopSession(survivor);
  expect((await cluster.api().waitForCommand(command!.id)).status).toBe('completed');
  expect(agent.sessions().map(({ sessionId }) => sessionId)).not.toContain(survivor);
  expect(await checkInvariants(cluster)).toEqual([]);
}, 60_000);
