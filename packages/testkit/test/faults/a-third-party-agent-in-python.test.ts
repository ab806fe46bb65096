import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { repositoryRoot, startProcess, type SupervisedProcess } from '@streamspace/local-stack';
import { agentAndKeySchema } from '@streamspace/protocol';
import { startTestCluster, testProcessRegistry, type TestCluster } from '@streamspace/testkit';
import { preparePython } from './python.ts';

const SETUP_TIMEOUT_MS = 120_000;
const READY_TIMEOUT_MS = 30_000;
const PROGRAM = join(repositoryRoot, 'docs', 'examples', 'python-agent.py');
const agentId = 'python-1';

const python = preparePython();
const isRequired = process.env['CI'] === 'true';
if (python.kind === 'missing')
  process.stdout.write(`the agent in Python is NOT tested: ${python.reason}\n`);
/** Where Python or its packages are missing: skipped by name on somebody's machine, a failure in CI. */
const describeWithPython = python.kind === 'ready' || isRequired ? describe : describe.skip;

let cluster: TestCluster;
let agent: SupervisedProcess;

beforeAll(async () => {
  if (python.kind === 'missing') {
    if (isRequired) throw new Error(`Python is needed: ${python.reason}`);
    return;
  }
  cluster = await startTestCluster();
  const { body } = await cluster
    .api()
    .request('/agents', { method: 'POST', body: { agentId, platform: 'process' } });
  agent = await startProcess({
    name: agentId,
    command: python.executable,
    args: ['-u', PROGRAM],
    env: {
      ...process.env,
      STREAMSPACE_URL: cluster.url,
      AGENT_ID: agentId,
      AGENT_KEY: agentAndKeySchema.parse(body).key,
      AGENT_JOURNAL: join(mkdtempSync(join(tmpdir(), 'streamspace-python-agent-')), 'journal'),
    },
    isReady: async () => (await cluster.api().agent(agentId)).state === 'online',
    readyTimeoutMs: READY_TIMEOUT_MS,
    registry: testProcessRegistry(),
  });
}, SETUP_TIMEOUT_MS);

afterAll(async () => {
  await agent?.stop({ graceMs: 0 });
  await cluster?.stop();
}, SETUP_TIMEOUT_MS);

async function kill(): Promise<void> {
  agent.kill('SIGKILL');
  await agent.waitForExit();
  await cluster.api().waitForAgent(agentId, 'lost');
}

describeWithPython('an agent in Python', () => {
  it('starts a session that was asked for at another replica, and stops it', async () => {
    const foreign = (await cluster.replicaWithoutAgent(agentId)).api();
    const { session, command } = await foreign.createSession({ agentId });
    expect(await foreign.waitForCommand(command!.id)).toMatchObject({
      status: 'completed',
      attempt: 1,
    });
    expect(await foreign.waitForSession(session.id, 'running')).toMatchObject({
      endpoint: { host: '127.0.0.1', port: 8080 },
    });
    const stop = await foreign.stopSession(session.id);
    expect((await foreign.waitForCommand(stop.command!.id)).status).toBe('completed');
    await foreign.waitForSession(session.id, 'terminated');
  }, 60_000);

  it('that was killed carries out what waited, and answers for what it had done', async () => {
    const api = cluster.api();
    const running = await api.createSession({ agentId });
    await api.waitForSession(running.session.id, 'running');
    await kill();
    const stop = await api.stopSession(running.session.id);
    const start = await api.createSession({ agentId });
    expect(stop.command).toMatchObject({ status: 'pending', errorMessage: null });
    const { connectionEpoch } = await api.agent(agentId);

    await agent.start();
    expect((await api.waitForCommand(stop.command!.id)).status).toBe('completed');
    expect((await api.waitForCommand(start.command!.id)).status).toBe('completed');
    await api.waitForSession(running.session.id, 'terminated');
    await api.waitForSession(start.session.id, 'running');
    expect((await api.agent(agentId)).connectionEpoch).toBe(connectionEpoch + 1);
    const { body } = await api.request(`/agents/${agentId}/ping`, { method: 'POST' });
    expect(body).toMatchObject({ epoch: connectionEpoch + 1 });
  }, 60_000);

  it('whose replica is killed goes on with the next one', async () => {
    const api = cluster.api();
    const owner = await cluster.replicaOfAgent(agentId);
    await owner.kill();
    const { session, command } = await api.createSession({ agentId });
    expect((await api.waitForCommand(command!.id)).status).toBe('completed');
    const stop = await api.stopSession(session.id);
    expect((await api.waitForCommand(stop.command!.id)).status).toBe('completed');
    expect((await cluster.replicaOfAgent(agentId)).name).not.toBe(owner.name);
  }, 60_000);
});
