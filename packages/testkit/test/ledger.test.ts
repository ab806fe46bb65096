import { appendFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CommandAborted, type OperationContext, type SessionToStart } from '@streamspace/agent';
import { LedgerRuntime, readLedger, sessionsOf } from '@streamspace/testkit';
import { pino } from 'pino';

let directory: string;
let path: string;
let runtime: LedgerRuntime;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'streamspace-ledger-'));
  path = join(directory, 'ledger.jsonl');
  runtime = open();
});

afterEach(async () => {
  await runtime.close();
  await rm(directory, { recursive: true, force: true });
});

function open(startDelayMs = 0): LedgerRuntime {
  return new LedgerRuntime({ path, startDelayMs, epoch: () => 7 });
}

function context(signal = new AbortController().signal): OperationContext {
  return { signal, report: () => undefined, logger: pino({ enabled: false }) };
}

function session(env: Record<string, string> = {}, generation = 1): SessionToStart {
  return {
    sessionId: 's1',
    generation,
    commandId: `c${generation}`,
    spec: {
      template: 'hello-web',
      userId: 'u1',
      protocol: 'http',
      ports: [{ name: 'http', port: 8080 }],
      platform: { command: ['true'] },
      resources: {},
      env,
    },
  };
}

function kinds(): string[] {
  return readLedger(path).map((entry) =>
    'action' in entry ? `${entry.kind} ${entry.action}` : entry.kind,
  );
}

it('writes down the beginning, the effect and the end', async () => {
  await runtime.start(session(), context());
  expect(kinds()).toEqual(['begin start', 'effect start', 'end start']);
  expect(readLedger(path)[0]).toMatchObject({ commandId: 'c1', generation: 1, epoch: 7 });
});

it('a start of what is there has no second effect, in a later process neither', async () => {
  await runtime.start(session(), context());
  await runtime.close();
  runtime = open();
  await runtime.start(session(), context());
  expect(kinds().filter((kind) => kind === 'effect start')).toHaveLength(1);
  expect(await runtime.inventory()).toMatchObject({
    complete: true,
    sessions: [{ sessionId: 's1', generation: 1, state: 'running' }],
  });
});

it('hibernates, wakes and stops', async () => {
  await runtime.start(session(), context());
  await runtime.hibernate(session({}, 2));
  expect(sessionsOf(readLedger(path)).get('s1')?.state).toBe('hibernated');
  await runtime.wake(session({}, 3));
  expect(sessionsOf(readLedger(path)).get('s1')).toMatchObject({ state: 'running', generation: 3 });
  await runtime.stop(session({}, 4));
  await runtime.stop(session({}, 4));
  expect(sessionsOf(readLedger(path)).size).toBe(0);
  expect(kinds().filter((kind) => kind === 'effect stop')).toHaveLength(1);
});

it('an aborted start leaves nothing and says why', async () => {
  const controller = new AbortController();
  const starting = runtime.start(
    session({ LEDGER_START_DELAY_MS: '60000' }),
    context(controller.signal),
  );
  controller.abort(new CommandAborted('superseded'));
  await expect(starting).rejects.toThrow('aborted: superseded');
  expect(readLedger(path).at(-1)).toMatchObject({ outcome: 'aborted', reason: 'superseded' });
  expect(sessionsOf(readLedger(path)).size).toBe(0);
});

it('a session can ask its start to fail', async () => {
  await expect(
    runtime.start(session({ LEDGER_FAIL: 'no_image' }), context()),
  ).rejects.toMatchObject({ code: 'no_image' });
});

it('a line that a kill has torn counts as never written', async () => {
  await runtime.start(session(), context());
  await runtime.close();
  await appendFile(path, '{"kind":"effect","act');
  expect(kinds()).toHaveLength(3);
  runtime = open();
  runtime.noteLink('connected');
  expect(kinds()).toEqual(['begin start', 'effect start', 'end start', 'link']);
  expect((await readFile(path, 'utf8')).split('\n')).toHaveLength(5);
});
