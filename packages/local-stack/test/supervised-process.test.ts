import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  identifyProcess,
  isRunning,
  type ProcessEvent,
  ProcessRegistry,
  type ProcessSpec,
  startProcess,
  type SupervisedProcess,
  waitUntil,
} from '@streamspace/local-stack';
import { testProcessRegistry } from '@streamspace/testkit';

let directory: string;
let started: SupervisedProcess[];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'streamspace-process-'));
  started = [];
});

afterEach(async () => {
  for (const supervised of started) await supervised.stop({ graceMs: 0 });
  await rm(directory, { recursive: true, force: true });
});

async function startScript(
  script: string,
  options: Partial<ProcessSpec> = {},
): Promise<SupervisedProcess> {
  const supervised = await startProcess({
    name: 'script',
    command: process.execPath,
    args: ['-e', script],
    isReady: () => true,
    registry: testProcessRegistry(),
    logFile: join(directory, 'script.log'),
    ...options,
  });
  started.push(supervised);
  return supervised;
}

const FOREVER = 'setInterval(() => {}, 1000)';

it('starts a process again when it dies, and says so', async () => {
  const events: ProcessEvent['kind'][] = [];
  const supervised = await startScript(FOREVER, {
    restartOnExit: true,
    onEvent: ({ kind }) => events.push(kind),
  });
  const firstPid = supervised.pid;
  supervised.kill('SIGKILL');
  await waitUntil(() => supervised.isReady && supervised.pid !== firstPid, { what: 'it is back' });
  expect(events).toEqual(['spawned', 'ready', 'exited', 'restarting', 'spawned', 'ready']);
});

it('does not start a process again that was stopped', async () => {
  const supervised = await startScript(FOREVER, { restartOnExit: true });
  const identity = identifyProcess(supervised.pid!)!;
  await supervised.stop();
  expect(isRunning(identity)).toBe(false);
  expect(supervised.pid).toBeUndefined();
  expect(supervised.exits).toMatchObject([{ signal: 'SIGTERM', expected: true }]);
});

it('stop ends the restarts of a process that never comes up', async () => {
  const supervised = await startScript(FOREVER, { restartOnExit: true });
  await supervised.stop();
  const failing = startScript('process.exit(3)', { isReady: () => false, readyTimeoutMs: 5_000 });
  await expect(failing).rejects.toThrow('ended before it was ready');
});

it('shows what a process printed when it ends before it is ready', async () => {
  const failing = startScript('console.log("no such table"); process.exit(1)', {
    isReady: () => false,
  });
  await expect(failing).rejects.toThrow('no such table');
});

it('kills what ignores SIGTERM, after the grace', async () => {
  const supervised = await startScript(
    `process.on('SIGTERM', () => {}); console.log('deaf'); ${FOREVER}`,
    { isReady: async () => (await readFile(join(directory, 'script.log'), 'utf8')) !== '' },
  );
  await supervised.stop({ graceMs: 200 });
  expect(supervised.exits).toMatchObject([{ signal: 'SIGKILL' }]);
});

it('stops a frozen process', async () => {
  const supervised = await startScript(FOREVER);
  supervised.kill('SIGSTOP');
  await supervised.stop();
  expect(supervised.exits).toMatchObject([{ signal: 'SIGTERM' }]);
});

it('a command that does not exist is an error, not a hang', async () => {
  await expect(startScript('', { command: '/nowhere/program' })).rejects.toThrow(
    'ended before it was ready',
  );
});

it('the next owner of a registry ends what is left, and only that', async () => {
  const registry = new ProcessRegistry(join(directory, 'processes'));
  const left = await startScript(FOREVER, { registry });
  const spared = await startScript(FOREVER);
  const identity = identifyProcess(left.pid!)!;
  const next = new ProcessRegistry(join(directory, 'processes'));
  expect(await next.endLeftovers()).toMatchObject([{ name: 'script', pid: identity.pid }]);
  expect(isRunning(identity)).toBe(false);
  expect(spared.pid).toBeDefined();
  expect(next.list()).toEqual([]);
});

it('a recorded pid that another process has by now is left alone', async () => {
  const registry = new ProcessRegistry(join(directory, 'processes'));
  const victim = await startScript(FOREVER, { registry });
  const file = join(directory, 'processes', `${victim.pid}.json`);
  const entry: object = JSON.parse(await readFile(file, 'utf8'));
  await writeFile(file, JSON.stringify({ ...entry, startedAt: 'another time' }));
  expect(await registry.endLeftovers()).toEqual([]);
  expect(victim.pid).toBeDefined();
});
