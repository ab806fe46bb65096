import { jest } from '@jest/globals';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import {
  freePort,
  identifyProcess,
  isPortFree,
  isRunning,
  killSessionProcesses,
  type ProcessIdentity,
  ProcessRegistry,
  repositoryRoot,
  waitUntil,
} from '@streamspace/local-stack';

// A cold start on a busy machine: initdb, a migration and three replicas.
const START_TIMEOUT_MS = 60_000;
jest.setTimeout(2 * START_TIMEOUT_MS);

interface DevFileContent {
  readonly url: string;
  readonly replicas: readonly { readonly id: string; readonly pid: number }[];
  readonly adminToken: string;
  readonly agents: readonly { readonly agentId: string; readonly pid: number }[];
  readonly pid: number;
}

let stateDir: string;
let port: number;
let started: LocalProcess[];

beforeEach(async () => {
  stateDir = await mkdtemp(join(tmpdir(), 'streamspace-local-'));
  await chmod(stateDir, 0o755);
  port = await freePort();
  started = [];
});

afterEach(async () => {
  for (const local of started) await local.end('SIGKILL');
  await new ProcessRegistry(join(stateDir, 'processes')).endLeftovers(0);
  // Sessions outlive their agent, and here nothing will find them again.
  killSessionProcesses(join(stateDir, 'agents', 'local-1'));
  await rm(stateDir, { recursive: true, force: true });
});

/** `npm start` without npm. */
class LocalProcess {
  output = '';
  readonly child: ChildProcess;

  constructor(args: readonly string[]) {
    const { DATABASE_URL: _database, REDIS_URL: _redis, ...env } = process.env;
    this.child = spawn(
      process.execPath,
      [`${repositoryRoot}/apps/local/dist/main.js`, '--port', String(port), ...args],
      {
        env: { ...env, STREAMSPACE_STATE_DIR: stateDir, DRAIN_DELAY: '0', DRAIN_WINDOW: '0' },
        detached: true,
      },
    );
    for (const stream of [this.child.stdout, this.child.stderr])
      stream?.on('data', (chunk: Buffer) => (this.output += String(chunk)));
    started.push(this);
  }

  get hasEnded(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  async untilOutput(text: string): Promise<void> {
    await waitUntil(
      () => {
        if (this.output.includes(text)) return true;
        if (this.hasEnded) throw new Error(`it ended:\n${this.output}`);
        return false;
      },
      { what: `it says "${text}"`, timeoutMs: START_TIMEOUT_MS },
    );
  }

  async end(signal: NodeJS.Signals): Promise<number | null> {
    if (this.hasEnded) return this.child.exitCode;
    const exited = once(this.child, 'exit');
    this.child.kill(signal);
    await exited;
    return this.child.exitCode;
  }

  async exitCode(): Promise<number | null> {
    if (!this.hasEnded) await once(this.child, 'exit');
    return this.child.exitCode;
  }
}

async function start(args: readonly string[] = ['--replicas', '2']): Promise<LocalProcess> {
  const local = new LocalProcess(args);
  await local.untilOutput('Ctrl-C stops everything.');
  return local;
}

async function devFile(): Promise<DevFileContent> {
  return JSON.parse(await readFile(join(stateDir, 'dev.json'), 'utf8')) as DevFileContent;
}

async function api(path: string, init: RequestInit = {}): Promise<Record<string, unknown>> {
  const { url, adminToken } = await devFile();
  const response = await fetch(`${url}/api/v1${path}`, {
    ...init,
    headers: {
      authorization: `Bearer ${adminToken}`,
      'content-type': 'application/json',
      prefer: 'wait=10',
    },
  });
  return (await response.json()) as Record<string, unknown>;
}

async function startSession(): Promise<{ id: string; state: string }> {
  const { session } = await api('/sessions', { method: 'POST', body: '{"template":"hello-web"}' });
  return session as { id: string; state: string };
}

function children(): ProcessIdentity[] {
  return new ProcessRegistry(join(stateDir, 'processes')).list();
}

it('runs a session, and Ctrl-C leaves no process, port or secret in the open', async () => {
  const local = await start();
  const { adminToken, replicas } = await devFile();
  expect(local.output).toContain(adminToken);
  expect((await stat(join(stateDir, 'dev.json'))).mode & 0o777).toBe(0o600);
  expect(replicas.map(({ id }) => id)).toEqual(['api-1', 'api-2']);
  expect((await startSession()).state).toBe('running');
  const running = children();
  expect(running).toHaveLength(6);

  expect(await local.end('SIGINT')).toBe(0);
  expect(running.filter((identity) => isRunning(identity))).toEqual([]);
  expect(await isPortFree(port)).toBe(true);
  await expect(devFile()).rejects.toThrow('ENOENT');
});

it('keeps sessions and token over a restart, and says how sessions ended', async () => {
  const first = await start();
  const { adminToken } = await devFile();
  const { id } = await startSession();
  await first.end('SIGTERM');
  await start();
  expect((await devFile()).adminToken).toBe(adminToken);
  expect((await api(`/sessions/${id}`))['state']).toBe('terminated');
});

it('starts again what dies, says so and keeps dev.json true', async () => {
  const local = await start();
  const [replica] = (await devFile()).replicas;
  process.kill(replica!.pid, 'SIGKILL');
  await local.untilOutput('starting api-1 again');
  const again = await waitUntil(
    async () =>
      (await devFile()).replicas.find(({ id, pid }) => id === 'api-1' && pid !== replica!.pid),
    { what: 'dev.json has the new pid', timeoutMs: START_TIMEOUT_MS },
  );
  expect(identifyProcess(again.pid)).toBeDefined();
});

it('recovers when it was killed itself, sessions included', async () => {
  const first = await start();
  const { id } = await startSession();
  const orphans = children();
  await first.end('SIGKILL');
  const second = await start();
  expect(second.output).toContain('The last run was killed');
  expect(orphans.filter((identity) => isRunning(identity))).toEqual([]);
  expect((await api(`/sessions/${id}`))['state']).toBe('running');
});

it('refuses to run twice in one directory', async () => {
  await start(['--replicas', '1', '--no-agent']);
  const second = new LocalProcess([]);
  expect(await second.exitCode()).toBe(1);
  expect(second.output).toContain('already runs in this directory');
  expect((await api('/agents'))['items']).toEqual([]);
});

it('says so when its port is taken', async () => {
  const other = createServer();
  other.listen(port, '127.0.0.1');
  await once(other, 'listening');
  const local = new LocalProcess([]);
  expect(await local.exitCode()).toBe(1);
  expect(local.output).toContain(`port ${port} is taken`);
  expect(children()).toEqual([]);
  other.close();
});

it('begins anew with --fresh', async () => {
  const first = await start();
  const { adminToken } = await devFile();
  await startSession();
  await first.end('SIGTERM');
  await start(['--replicas', '1', '--fresh']);
  expect((await devFile()).adminToken).not.toBe(adminToken);
  expect((await api('/sessions'))['items']).toEqual([]);
});

it('stops when it is interrupted in the middle of its start', async () => {
  const local = new LocalProcess([]);
  await local.untilOutput('postgres is up');
  expect(await local.end('SIGINT')).toBe(0);
  expect(children()).toEqual([]);
});

it('a second signal ends everything at once, sessions too', async () => {
  const local = await start(['--replicas', '1']);
  await startSession();
  const running = children();
  // A replica that is frozen holds up a stop in good order.
  process.kill((await devFile()).replicas[0]!.pid, 'SIGSTOP');
  local.child.kill('SIGINT');
  await local.untilOutput('Stopping');
  // What comes within half a second is the same Ctrl-C, passed on by npm.
  await setTimeout(600);
  expect(await local.end('SIGINT')).toBe(1);
  await waitUntil(() => running.every((identity) => !isRunning(identity)), { what: 'all is gone' });
  expect(await isPortFree(port)).toBe(true);
});

it('says what is wrong with an option', async () => {
  const local = new LocalProcess(['--replicas', 'many']);
  expect(await local.exitCode()).toBe(1);
  expect(local.output).toContain('whole number');
});
