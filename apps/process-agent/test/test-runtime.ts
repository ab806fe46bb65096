import type { Observation, OperationContext } from '@streamspace/agent';
import type { StartPayload } from '@streamspace/protocol';
import { randomUUID } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { carries, readProcessTable } from '../src/machine/process-table.ts';
import { ProcessRuntime } from '../src/sessions/process-runtime.ts';
import { SessionStore } from '../src/sessions/session-store.ts';

const logger = pino({ enabled: false });

export interface TestMachine {
  readonly directory: string;
  readonly observations: Observation[];
  /** A runtime as a newly started agent has it; the one before is closed. */
  restart(): Promise<ProcessRuntime>;
  readonly context: OperationContext;
  /** Living processes of all sessions, by their environment. */
  processes(sessionId?: string): number[];
  sessionDirectories(): Promise<string[]>;
  cleanUp(): Promise<void>;
}

export async function createTestMachine({ readyWithinMs = 8000 } = {}): Promise<TestMachine> {
  const directory = await mkdtemp(join(tmpdir(), 'process-agent-test-'));
  const runtimeId = randomUUID();
  const observations: Observation[] = [];
  let runtime: ProcessRuntime | undefined;
  const processes = (sessionId?: string): number[] =>
    readProcessTable()
      .filter((entry) =>
        carries(entry, [
          `STREAMSPACE_RUNTIME=${runtimeId}`,
          ...(sessionId === undefined ? [] : [`STREAMSPACE_SESSION_ID=${sessionId}`]),
        ]),
      )
      .map(({ pid }) => pid);
  return {
    directory,
    observations,
    context: { signal: new AbortController().signal, report: () => {}, logger },
    processes,
    async restart() {
      await runtime?.close();
      runtime = new ProcessRuntime({
        store: new SessionStore(join(directory, 'sessions'), logger),
        runtimeId,
        host: '127.0.0.1',
        path: process.env['PATH'],
        readyWithinMs,
        logger,
      });
      await runtime.open();
      runtime.observe((observation) => observations.push(observation));
      return runtime;
    },
    sessionDirectories: () => readdir(join(directory, 'sessions')),
    async cleanUp() {
      await runtime?.close();
      for (const pid of processes()) process.kill(pid, 'SIGKILL');
      await rm(directory, { recursive: true, force: true });
    },
  };
}

export function specOf(command: string[], changes: Partial<StartPayload> = {}): StartPayload {
  return {
    template: 'test',
    userId: 'user-1',
    protocol: 'http',
    ports: [{ name: 'web', port: 8080 }],
    platform: { command },
    resources: {},
    env: {},
    ...changes,
  };
}

/** A web server that answers with its environment and whatever `setUp` says. */
export function webServer(setUp = ''): string[] {
  return [
    'node',
    '-e',
    `${setUp};
     const { env, pid } = process;
     require('node:http').createServer((request, response) => {
       if (request.url.startsWith('/exit/')) process.exit(Number(request.url.slice(6)));
       response.end(JSON.stringify({ env, pid, cwd: process.cwd() }));
     }).listen(Number(env.PORT), env.HOST);`,
  ];
}
