import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { ProcessRegistry } from './process-registry.ts';
import { type ProcessEvent, type ProcessSpec, SupervisedProcess } from './supervised-process.ts';

export interface NodeProgram {
  readonly name: string;
  /** A built file. */
  readonly entry: string;
  /** The whole environment. */
  readonly env: NodeJS.ProcessEnv;
  readonly isReady: () => Promise<boolean> | boolean;
  readonly readyTimeoutMs?: number;
  readonly stopGraceMs?: number | undefined;
  readonly logFile?: string | undefined;
  readonly restartOnExit?: boolean | undefined;
  readonly registry?: ProcessRegistry | undefined;
  /** Gives up a start that is under way. */
  readonly signal?: AbortSignal | undefined;
  readonly onEvent?: ((event: ProcessEvent) => void) | undefined;
}

function assertBuilt(entry: string): void {
  if (!existsSync(entry)) throw new Error(`${entry} is not there: run npm run build`);
}

/** Not started yet: call `start()`. */
export function nodeProgram({ entry, ...program }: NodeProgram): SupervisedProcess {
  assertBuilt(entry);
  const spec: ProcessSpec = {
    ...program,
    command: process.execPath,
    args: ['--enable-source-maps', entry],
  };
  return new SupervisedProcess(spec);
}

/** Runs a program to its end; throws with what it printed when the exit code is not 0. */
export async function runNodeProgram(options: {
  readonly entry: string;
  readonly env: NodeJS.ProcessEnv;
  readonly logFile: string;
}): Promise<void> {
  const { entry, env, logFile } = options;
  assertBuilt(entry);
  mkdirSync(dirname(logFile), { recursive: true });
  const log = openSync(logFile, 'w');
  const child = spawn(process.execPath, ['--enable-source-maps', entry], {
    env,
    stdio: ['ignore', log, log],
  });
  closeSync(log);
  await once(child, 'exit');
  if (child.exitCode !== 0)
    throw new Error(
      `${entry} ended with ${child.exitCode ?? child.signalCode}:\n${readFileSync(logFile, 'utf8')}`,
    );
}

const PROBE_TIMEOUT_MS = 2_000;

/** Whether a GET is answered with 200 in time. */
export async function answersOk(url: string): Promise<boolean> {
  const response = await fetch(url, {
    headers: { connection: 'close' },
    signal: AbortSignal.timeout(PROBE_TIMEOUT_MS),
  });
  await response.body?.cancel();
  return response.status === 200;
}
