import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { WireCommand } from '@streamspace/protocol';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { carries, readProcessTable } from '../src/machine/process-table.ts';
import { eventually } from './eventually.ts';
import { MiniHub } from './mini-hub.ts';
import { helloWeb } from './templates.ts';

const main = join(import.meta.dirname, '../dist/main.js');

let hub: MiniHub;
let url: string;
let dataDir: string;
const agents: ChildProcess[] = [];

beforeEach(async () => {
  hub = new MiniHub();
  url = await hub.listen();
  dataDir = await mkdtemp(join(tmpdir(), 'process-agent-main-'));
});
afterEach(async () => {
  for (const agent of agents.splice(0)) agent.kill('SIGKILL');
  for (const pid of sessionProcesses()) process.kill(pid, 'SIGKILL');
  await hub.close();
  await rm(dataDir, { recursive: true, force: true });
});

function sessionProcesses(): number[] {
  return readProcessTable()
    .filter((entry) => carries(entry, [`HOME=${dataDir}/sessions/s1/home`]))
    .map(({ pid }) => pid);
}

function startAgent(env: Record<string, string> = {}): ChildProcess {
  const agent = spawn(process.execPath, [main], {
    env: {
      PATH: process.env['PATH'],
      STREAMSPACE_URL: url,
      AGENT_ID: 'agent-1',
      AGENT_KEY: 'very-secret',
      AGENT_DATA_DIR: dataDir,
      AGENT_LABELS: 'disk=fast,zone=a',
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  agents.push(agent);
  return agent;
}

function command(action: string, generation: number, payload = {}): WireCommand {
  return {
    commandId: `cmd_${action}_${generation}`,
    attempt: 1,
    sessionId: 's1',
    generation,
    action: `${action}_session`,
    payload,
  };
}

const start = command('start', 1, {
  template: 'hello-web',
  userId: 'user-1',
  protocol: 'http',
  ports: helloWeb.ports,
  platform: helloWeb.platforms['process'],
  resources: {},
  env: {},
});

describe('the agent’s process', () => {
  test('says what it is, runs a session, and ends in good order while the session goes on', async () => {
    const agent = startAgent();
    let output = '';
    agent.stdout!.on('data', (bytes: Buffer) => (output += bytes.toString()));
    expect(await hub.connected(1)).toMatchObject({
      agentId: 'agent-1',
      platform: 'process',
      labels: { disk: 'fast', zone: 'a' },
      capacity: { maxSessions: 20 },
    });
    expect(await hub.run(start)).toMatchObject({ status: 'completed' });
    agent.kill('SIGTERM');
    expect(await once(agent, 'exit')).toEqual([0, null]);
    expect(sessionProcesses()).toHaveLength(1);
    expect(output).not.toContain('very-secret');
  }, 30_000);

  test('that is killed leaves its sessions running, and the next one takes them up', async () => {
    const first = startAgent();
    await hub.connected(1);
    const outcome = await hub.run(start);
    const [pid] = sessionProcesses();
    first.kill('SIGKILL');
    await once(first, 'exit');
    startAgent();
    await hub.connected(2);
    expect(await hub.inventory()).toEqual({
      complete: true,
      sessions: [{ sessionId: 's1', generation: 1, state: 'running' }],
    });
    expect(await hub.run({ ...start, attempt: 2 })).toEqual(outcome);
    expect(sessionProcesses()).toEqual([pid]);
    await hub.run(command('stop', 2));
    expect(sessionProcesses()).toEqual([]);
    expect(existsSync(join(dataDir, 'sessions/s1'))).toBe(false);
  }, 30_000);

  test('that is killed in the middle of a start spawns no second group', async () => {
    const never = { ...start.payload, platform: { command: ['sleep', '300'] } };
    const first = startAgent();
    await hub.connected(1);
    void hub.run({ ...start, payload: never }).catch(() => undefined);
    await eventually(() => sessionProcesses().length === 1);
    const [pid] = sessionProcesses();
    first.kill('SIGKILL');
    await once(first, 'exit');
    startAgent();
    await hub.connected(2);
    await hub.inventory();
    expect(sessionProcesses()).toEqual([pid]);
    expect(await hub.run(command('stop', 2))).toMatchObject({ status: 'completed' });
    expect(sessionProcesses()).toEqual([]);
  }, 30_000);

  test('names everything that is wrong with its environment at once', async () => {
    const agent = startAgent({ STREAMSPACE_URL: 'nowhere', AGENT_KEY: '', MAX_SESSIONS: 'many' });
    let output = '';
    agent.stderr!.on('data', (bytes: Buffer) => (output += bytes.toString()));
    expect(await once(agent, 'exit')).toEqual([2, null]);
    for (const name of ['STREAMSPACE_URL', 'AGENT_KEY', 'MAX_SESSIONS']) {
      expect(output).toContain(name);
    }
  });
});
